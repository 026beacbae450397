"""The rate of each step is that of transformers' schedule of the same name."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from backprop.plan.settings.training import Scheduler
from backprop.plan.training.learning_rate import rate_at
from tests.plan.training.worlds import planned, settings, world


@pytest.mark.parametrize("warmup", [0, 1, 7, 40])
@pytest.mark.parametrize("scheduler", Scheduler)
def test_the_rate_is_that_of_transformers(scheduler: Scheduler, warmup: int) -> None:
    asked = {"max_steps": 30, "warmup_steps": warmup, "learning_rate": 3e-4, "lr_scheduler_type": scheduler}
    plan = planned(settings(training=asked), world())
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    theirs = get_scheduler(scheduler.value, optimizer, num_warmup_steps=warmup, num_training_steps=30)
    for step in range(30):
        ours = rate_at(plan.learning_rate, step, steps=30)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-18)
        optimizer.step()
        theirs.step()
