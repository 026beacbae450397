"""The LORA group: the shape of the adapter."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice, Names, Real, Switch, Whole
from backprop.plan.settings.option import group, opt


class LoraPreset(enum.Enum):
    """Rank, alpha and targets that belong together."""

    QUALITY = "quality"
    FAST = "fast"


class AdapterInit(enum.Enum):
    """What the adapter's first weights are."""

    DEFAULT = "default"
    """A random, B zero: the adapter begins as nothing."""
    PISSA = "pissa"
    """The principal singular directions of the weight, arXiv:2404.02948; the frozen weight keeps the rest."""
    LOFTQ = "loftq"
    """What quantization to 4 bits takes from the weight, as far as the rank reaches, arXiv:2310.08659."""


@group("lora")
@attrs.frozen
class LoraSettings:
    """BACKPROPAGATE_LORA__…"""

    preset: LoraPreset = opt(
        Choice(LoraPreset),
        "--lora-preset",
        default=LoraPreset.QUALITY,
        help="quality: rank 256, alpha 512, all linear layers. fast: rank 16, alpha 32, query and value only.",
    )
    r: int | None = opt(Whole(minimum=1), "--lora-r", unset="the preset's rank", help="LoRA rank.")
    lora_alpha: float | None = opt(
        Real(above=0),
        "--lora-alpha",
        unset="twice the rank, as in both presets; with --use-rslora twice its square root",
        help="LoRA alpha: the adapter's output is scaled by alpha / rank.",
    )
    use_rslora: bool = opt(
        Switch(),
        "--use-rslora",
        default=False,
        help="Rank-stabilized LoRA: scale by alpha / square root of rank, so that high ranks learn as fast.",
    )
    lora_dropout: float = opt(
        Real(at_least=0, below=1), "--lora-dropout", default=0.05, help="Dropout on the adapter's input.", rare=True
    )
    use_dora: bool = opt(
        Switch(),
        "--use-dora",
        default=False,
        help="DoRA: learn each output's magnitude apart from its direction. Slower steps, the same cost once merged.",
    )
    init_lora_weights: AdapterInit = opt(
        Choice(AdapterInit),
        "--init-lora-weights",
        default=AdapterInit.DEFAULT,
        help="First weights of the adapter. pissa: each weight's principal directions. loftq: what 4-bit weights lose.",
    )
    target_modules: tuple[str, ...] | None = opt(
        Names(),
        "--target-modules",
        unset="the preset's",
        help='Layers that get an adapter: names such as q_proj,v_proj, or "all-linear".',
        metavar="NAMES",
    )
    use_gradient_checkpointing: bool | None = opt(
        Switch(),
        "--gradient-checkpointing",
        unset="where the activations do not fit",
        help="Recompute activations in the backward pass: less memory, about a third more time.",
        rare=True,
    )
    random_state: int = opt(
        Whole(minimum=0, maximum=2**32 - 1),
        "--lora-seed",
        default=42,
        help="Seed of the adapter's initial weights.",
        rare=True,
    )
