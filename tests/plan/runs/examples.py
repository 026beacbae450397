"""Records to test with, as a small run on a CPU has them."""

from __future__ import annotations

from typing import Any

from backprop.plan.runs.record import Fingerprints, RunRecord, summarize_facts
from backprop.plan.runs.row import RunKind, Worker
from backprop.plan.settings.resolve import Layer, Resolved, Source, resolve
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.fingerprint import fingerprint
from backprop.plan.training.plan import TrainPlan
from tests.plan.training.worlds import planned, world

FACTS = world()
WORKER = Worker(pid=4242, started_at=1_795_549_082.5, hostname="forge")


def a_plan(**flags: str) -> TrainPlan:
    """A plan as the planner makes it, from flags given by configuration key with ``__`` for the dot."""
    layer = Layer(Source.FLAG, "", {key.replace("__", "."): text for key, text in flags.items()})
    resolved = resolve(TrainSettings, [layer])
    assert isinstance(resolved, Resolved)
    return planned(resolved.settings, FACTS, resolved.origins)


PLAN = a_plan()


def a_record(run_id: str = "20261124-193802-k3f9", **changes: Any) -> RunRecord:
    """The record of a run that has just begun, with ``changes``."""
    fields: dict[str, Any] = {
        "run_id": run_id,
        "kind": RunKind.TRAIN,
        "created_at": "2026-11-24T19:38:02Z",
        "run_status": RunStatus.RUNNING,
        "worker": WORKER,
        "model": PLAN.model.name,
        "data": PLAN.data.train.name,
        "num_steps": PLAN.length.steps.value,
        "plan": PLAN,
        "facts": summarize_facts(FACTS.hardware, FACTS.software, PLAN.model, PLAN.data),
        "fingerprints": Fingerprints(plan=fingerprint(PLAN), model="m" * 16, data="d" * 64),
    }
    return RunRecord(**(fields | changes))
