"""The ways to train that an estimate compares: the same run with other weights trained, or held otherwise."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings


@attrs.frozen
class WayKind:
    """A way to train, by name and flags, and how the settings of a run become it."""

    name: str
    flags: str
    of: Callable[[TrainSettings], TrainSettings]


def _adapter(settings: TrainSettings, *, in_4bit: bool) -> TrainSettings:
    return attrs.evolve(
        settings,
        model=attrs.evolve(settings.model, load_in_4bit=in_4bit),
        training=attrs.evolve(settings.training, mode=TrainMode.LORA, full_ft_offload=False),
    )


def _full(settings: TrainSettings, *, offloads: bool) -> TrainSettings:
    return attrs.evolve(
        settings,
        model=attrs.evolve(settings.model, load_in_4bit=None),
        training=attrs.evolve(settings.training, mode=TrainMode.FULL, full_ft_offload=offloads),
    )


WAYS = (
    WayKind("qlora", "--load-in-4bit", lambda settings: _adapter(settings, in_4bit=True)),
    WayKind("lora", "--no-load-in-4bit", lambda settings: _adapter(settings, in_4bit=False)),
    WayKind("full", "--mode full", lambda settings: _full(settings, offloads=False)),
    WayKind("full-offload", "--mode full --full-ft-offload", lambda settings: _full(settings, offloads=True)),
)
"""From the one that takes least of the card to the one that takes most, offload last."""
