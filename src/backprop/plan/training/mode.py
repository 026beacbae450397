"""Settings that do not belong to the chosen mode: said, never silently ignored."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.plan.decision import Problem, warning
from backprop.plan.settings.lora import LoraSettings
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings

OF_BOTH_MODES = frozenset({"use_gradient_checkpointing"})
"""Settings of the LORA group that full fine-tuning heeds, too."""
OF_ADAPTERS = frozenset({"fp8"})
"""Settings of the TRAINING group that only frozen weights can heed."""
OF_FULL_MODE = frozenset({"full_ft_offload", "full_ft_ceiling_billions"})


def check_mode(settings: TrainSettings, *, origins: Origins) -> tuple[Problem, ...]:
    """A warning for each setting that the mode cannot heed, naming both."""
    if settings.training.mode is TrainMode.FULL:
        return (
            *_inert(settings.lora, origins, without=OF_BOTH_MODES, mode=TrainMode.FULL),
            *_inert(settings.training, origins, only=OF_ADAPTERS, mode=TrainMode.FULL),
        )
    return tuple(_inert(settings.training, origins, only=OF_FULL_MODE, mode=TrainMode.LORA))


def _inert(
    settings: LoraSettings | TrainingSettings,
    origins: Origins,
    *,
    mode: TrainMode,
    only: frozenset[str] | None = None,
    without: frozenset[str] = frozenset(),
) -> Iterator[Problem]:
    for bound in options_of(settings.__class__):
        if bound.name in without or (only is not None and bound.name not in only):
            continue
        origin = origins.of(bound.key)
        if getattr(settings, bound.name) == bound.default and origin is None:
            continue
        name = origin.name if origin else bound.flag
        yield warning(
            "CONFIG_INVALID_SETTING",
            f"{name} has no effect with --mode {mode.value}.",
            where=name,
            hint="Leave it out, or choose the other --mode.",
        )
