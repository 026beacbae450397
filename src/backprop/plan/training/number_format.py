"""Floating-point formats, and what the settings say of them: flag over variable over file, each against the others."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

from backprop.plan.decision import Problem
from backprop.plan.settings.model import Dtype, ModelSettings
from backprop.plan.settings.resolve import Origins, Source
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.chosen import name_of


class NumberFormat(enum.Enum):
    """A floating-point format, by torch's name."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    @property
    def num_bytes(self) -> int:
        """Of one number."""
        return 4 if self is NumberFormat.FLOAT32 else 2


@attrs.frozen
class Stated:
    """A setting that wants a format or rules it out."""

    format: NumberFormat
    is_wanted: bool
    name: str
    """What said so, as a message names it."""
    strength: int
    """0 is the strongest source."""

    def contradicts(self, other: Stated) -> bool:
        """Whether both cannot be heeded."""
        if self.is_wanted and other.is_wanted:
            return self.format is not other.format
        return self.is_wanted is not other.is_wanted and self.format is other.format


def stated_formats(model: ModelSettings, training: TrainingSettings, origins: Origins) -> tuple[Stated, ...] | Problem:
    """What is heeded of --bf16, --fp16 and --dtype, the strongest first: at most one format is wanted.

    A weaker source gives way to a stronger one; two of the same source that contradict each other are a problem.
    """
    heeded: list[Stated] = []
    for one in sorted(_stated(model, training, origins), key=lambda one: one.strength):
        against = [other for other in heeded if one.contradicts(other)]
        equals = [other for other in against if other.strength == one.strength]
        if not against:
            heeded.append(one)
        elif equals == against:
            return Problem(
                "CONFIG_INVALID_SETTING",
                f"{_said(equals[0])}, but {_said(one)}: both cannot be.",
                where=f"{equals[0].name}, {one.name}",
                hint="Keep one.",
            )
    return tuple(heeded)


def _stated(model: ModelSettings, training: TrainingSettings, origins: Origins) -> Iterator[Stated]:
    for key, format_, asked in (
        ("training.bf16", NumberFormat.BFLOAT16, training.bf16),
        ("training.fp16", NumberFormat.FLOAT16, training.fp16),
    ):
        if asked is not None:
            yield Stated(format_, asked, name_of(origins, key), _strength(origins, key))
    if model.dtype is not Dtype.AUTO:
        key = "model.dtype"
        yield Stated(NumberFormat(model.dtype.value), True, name_of(origins, key), _strength(origins, key))


def _strength(origins: Origins, key: str) -> int:
    origin = origins.of(key)
    return list(Source).index(origin.source if origin else Source.CALL)


def _said(one: Stated) -> str:
    return f"{one.name} asks for {one.format.value}" if one.is_wanted else f"{one.name} rules {one.format.value} out"
