from __future__ import annotations

import attrs

from backprop.plan.runs.continuation import continuation
from backprop.plan.settings.verbs.train import TrainSettings
from tests.plan.training.worlds import from_flags, settings

RESUMED = attrs.evolve(settings(training={"max_steps": 9}), resume="20261124", dry_run=True)


def test_steps_output_and_the_dry_run_count_when_a_run_is_continued() -> None:
    found, warnings = continuation(RESUMED, from_flags(training__max_steps="--steps", resume="--resume"))
    assert (found.run_id, found.steps, found.dry_run) == ("20261124", 9, True)
    assert warnings == ()


def test_steps_that_nobody_gave_extend_nothing() -> None:
    found, _ = continuation(RESUMED, from_flags(resume="--resume"))
    assert found.steps is None


def test_what_a_resumed_run_does_not_heed_is_named() -> None:
    asked: TrainSettings = RESUMED
    _, (warning,) = continuation(asked, from_flags(training__learning_rate="--lr", lora__r="--lora-r"))
    assert "--lr, --lora-r" in warning.message
