"""The shape of the adapter: rank, alpha and the layers that get one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.model import ModelFacts
from backprop.plan.memory.static import adapter_groups
from backprop.plan.memory.training import ALL_LINEAR
from backprop.plan.settings.lora import AdapterInit, LoraPreset, LoraSettings
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.chosen import given
from backprop.plan.training.initial import InitialPlan, default_alpha, plan_initial


@attrs.frozen
class Preset:
    """Rank, alpha and targets that belong together; alpha is twice the rank in both."""

    rank: int
    targets: tuple[str, ...]
    why: str


PRESETS: Mapping[LoraPreset, Preset] = {
    LoraPreset.QUALITY: Preset(
        256, (ALL_LINEAR,), "All linear layers at rank 256 come closest to full fine-tuning (arXiv:2405.09673)."
    ),
    LoraPreset.FAST: Preset(
        16, ("q_proj", "v_proj", "qkv_proj"), "Query and value at rank 16 train fastest and need the least memory."
    ),
}


@attrs.frozen
class AdapterPlan:
    """A LoRA adapter, arXiv:2106.09685: each target W gets B·A of the rank, scaled by alpha / rank.

    With DoRA, arXiv:2402.09353, each row of W + B·A is scaled to a learned length besides; rank-stabilized, by
    arXiv:2312.03732, B·A is scaled by alpha over the square root of the rank.
    """

    rank: Decision[int]
    alpha: Decision[float]
    targets: Decision[tuple[str, ...]]
    dropout: float
    seed: int
    num_parameters: int
    """Trainable parameters: the sum of r·(in + out) over every target in every layer; DoRA's magnitudes, out each."""
    use_dora: bool = False
    use_rslora: bool = False
    initial: InitialPlan | None = None
    """First weights that are computed from the model's; None where A is random and B zero."""

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        rank = self.rank.value
        return self.alpha.value / (math.sqrt(rank) if self.use_rslora else rank)

    @property
    def first_weights_bytes(self) -> int:
        """Of the first factors, float32, kept in host memory to be subtracted; with LoftQ of those before them, too."""
        if self.initial is None:
            return 0
        num_pairs = 2 if self.initial.kind.value is AdapterInit.LOFTQ else 1
        return 4 * num_pairs * self.num_parameters


def plan_adapter(settings: LoraSettings, model: ModelFacts, *, origins: Origins) -> AdapterPlan | Problem:
    """The preset's shape unless the user says otherwise; alpha follows the rank as in the preset."""
    preset = PRESETS[settings.preset]
    name = f"preset {settings.preset.value}"
    targets = _targets(settings, preset, model, name, origins)
    if isinstance(targets, Problem):
        return targets
    rank = Decision(preset.rank, name, preset.why) if settings.r is None else given(origins, "lora.r", settings.r)
    alpha = (
        default_alpha(rank.value, rank_stabilized=settings.use_rslora)
        if settings.lora_alpha is None
        else given(origins, "lora.lora_alpha", settings.lora_alpha)
    )
    groups = adapter_groups(
        model.linear_layers,
        targets.value,
        num_layers=model.num_layers,
        rank=rank.value,
        itemsize=4,
        dora=settings.use_dora,
    )
    return AdapterPlan(
        rank=rank,
        alpha=alpha,
        targets=targets,
        dropout=settings.lora_dropout,
        seed=settings.random_state,
        num_parameters=sum(group.numel * group.count for group in groups),
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        initial=plan_initial(settings, model, rank=rank.value, targets=targets.value, origins=origins),
    )


def _targets(
    settings: LoraSettings, preset: Preset, model: ModelFacts, preset_name: str, origins: Origins
) -> Decision[tuple[str, ...]] | Problem:
    present = tuple(layer.name for layer in model.linear_layers)
    asked = settings.target_modules
    if asked is None:
        names = present if ALL_LINEAR in preset.targets else tuple(n for n in present if n in preset.targets)
        return Decision(names or present, preset_name, preset.why)
    unknown = [name for name in asked if name not in (*present, ALL_LINEAR)]
    if unknown:
        close = [found for name in unknown if (found := nearest(name, present))]
        listed = ", ".join(f'"{name}"' for name in unknown)
        origin = origins.of("lora.target_modules")
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"{listed}: not among the layers of {model.name}, which are {', '.join(present)}.",
            where=origin.name if origin else "--target-modules",
            hint=f"Did you mean {','.join(close)}?" if close else "Name some of these, or all-linear.",
        )
    names = present if ALL_LINEAR in asked else tuple(n for n in present if n in asked)
    return given(origins, "lora.target_modules", names)
