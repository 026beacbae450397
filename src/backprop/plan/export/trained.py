"""What a card says of the run that trained a model: its plan, its losses, and the command that repeats it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import attrs

from backprop.plan.redaction import redact
from backprop.plan.runs.event_log import RecordedEvent, heldout_losses_of, losses_of
from backprop.plan.runs.record import GivenSetting, RunRecord
from backprop.plan.settings.option import options_of
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.plan import TrainPlan

_FROM_THE_PLAN = {"model.name", "data.dataset_name"}
_OF_THIS_MACHINE = frozenset({"training.output_dir", "config", "resume", "dry_run", "show_mask", "json"})
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+(?::[\w.-]+)?")


@attrs.frozen
class Trained:
    """A run as far as a card tells of it. Losses are (step, mean nats a supervised token)."""

    plan: TrainPlan
    run_id: str
    steps_done: int
    losses: tuple[tuple[int, float], ...] = ()
    heldout_losses: tuple[tuple[int, float], ...] = ()
    settings: tuple[GivenSetting, ...] = ()
    licence: str | None = None
    """The base's, as the Hub writes it, such as ``apache-2.0``; None when the base does not say."""

    @property
    def best(self) -> tuple[int, float] | None:
        """The step with the lowest held-out loss, whose weights these are; None without an evaluation."""
        return min(self.heldout_losses, key=lambda pair: pair[1], default=None)

    @property
    def command(self) -> str:
        """One command that trains the same on the same files. No directory of this machine is in it."""
        given = {"model.name": self.plan.model.name, "data.dataset_name": self.plan.data.train.name}
        given |= {s.key: s.text for s in self.settings if s.key not in _OF_THIS_MACHINE | _FROM_THE_PLAN}
        words = ["backprop", "train"]
        for bound in options_of(TrainSettings):
            text = given.get(bound.key)
            if text is not None:
                flag = bound.negative_flag if text == "false" else bound.flag
                is_switch = bound.negative_flag is not None
                words += [str(flag)] if is_switch else [bound.flag, without_directory(redact(text))]
        return shlex.join(words)


def trained_of(record: RunRecord, events: Iterable[RecordedEvent], *, licence: str | None = None) -> Trained:
    """What a record and its events tell."""
    recorded = tuple(events)
    return Trained(
        plan=record.plan,
        run_id=record.run_id,
        steps_done=record.steps_done,
        losses=losses_of(recorded),
        heldout_losses=heldout_losses_of(recorded),
        settings=record.settings,
        licence=licence,
    )


def is_on_hub(name: str) -> bool:
    """Whether a name is one that the Hub can have, and not a path."""
    return _ON_HUB.fullmatch(name) is not None and not name.startswith(".")


def without_directory(name: str) -> str:
    """The last part of a path; where a file stands is nobody else's business."""
    if is_on_hub(name) or not ("/" in name or "\\" in name):
        return name
    return name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
