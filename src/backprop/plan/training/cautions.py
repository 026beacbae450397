"""What a good engineer would say before such a run: it can be done, but perhaps it should not be."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.plan.decision import Problem, warning
from backprop.plan.facts.dataset import DatasetFacts
from backprop.plan.facts.model import ModelFacts, TokenizerFacts
from backprop.plan.quantity import quantity
from backprop.plan.settings.data import ChatFormat, DataSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.evaluation import EvaluationPlan
from backprop.plan.training.length import LengthPlan

BITS_A_PARAMETER = 2.0
"""What a network stores of what it is shown (arXiv:2404.05405, section 5)."""
BITS_A_TOKEN = 1.0
"""What a supervised token teaches: instruction data costs about a bit a token once it is learned (Schulman 2025, LoRA
Without Regret)."""
LARGEST_SCALE = 8.0
"""The presets' is 2; PEFT's examples end at 4."""
MANY_EPOCHS = 5
FEW_ROWS = 1000
PERMISSIVE = frozenset({"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "unlicense"})
"""Licences that ask for no more than to be passed on, by the Hub's names."""


def cautions(
    *,
    model: ModelFacts,
    tokenizer: TokenizerFacts | None,
    data: DatasetFacts,
    settings: DataSettings,
    adapter: AdapterPlan | None,
    length: LengthPlan,
    evaluation: EvaluationPlan | None,
) -> tuple[Problem, ...]:
    """Warnings alone, each with its numbers and what to do."""
    return (
        *(_scale(adapter) if adapter else ()),
        *(_rank(adapter, model) if adapter else ()),
        *(_capacity(adapter, data, length) if adapter else ()),
        *_epochs(length, data, evaluation),
        *_template(tokenizer, data, settings),
        *_licence(model),
    )


def _scale(adapter: AdapterPlan) -> Iterator[Problem]:
    if adapter.scale > LARGEST_SCALE:
        divisor = "square root of the rank" if adapter.use_rslora else "rank"
        yield warning(
            "CONFIG_INVALID_SETTING",
            f"Alpha {adapter.alpha.value:g} over the {divisor} scales the adapter by {adapter.scale:.3g}; 2 is usual.",
            where="--lora-alpha",
            hint="Leave out --lora-alpha for a scale of 2, or lower --lr with it: large scales diverge.",
        )


def _rank(adapter: AdapterPlan, model: ModelFacts) -> Iterator[Problem]:
    rank = adapter.rank.value
    if not adapter.rank.rule.startswith("set by"):
        return
    sides = {
        one.name: min(one.in_features, one.out_features)
        for one in model.linear_layers
        if one.name in adapter.targets.value
    }
    narrow = [name for name, side in sides.items() if side < rank]
    if narrow:
        yield warning(
            "CONFIG_INVALID_SETTING",
            f"Rank {rank} is more than {', '.join(narrow)} can have: their smaller side is "
            f"{min(sides[name] for name in narrow):,}.",
            where="--lora-r",
            hint=f"--lora-r {min(sides.values())} gives every layer its full rank, and takes less memory.",
        )


def _capacity(adapter: AdapterPlan, data: DatasetFacts, length: LengthPlan) -> Iterator[Problem]:
    if data.tokens is None:
        return
    seen = round(data.tokens.supervised_tokens * min(1.0, length.epochs))
    if BITS_A_TOKEN * seen > BITS_A_PARAMETER * adapter.num_parameters:
        yield warning(
            "INPUT_ADAPTER_TOO_SMALL",
            f"{quantity(seen)} supervised tokens teach about {quantity(round(BITS_A_TOKEN * seen))} bits, and the "
            f"adapter's {quantity(adapter.num_parameters)} parameters store about "
            f"{quantity(round(BITS_A_PARAMETER * adapter.num_parameters))}.",
            where="--lora-r",
            hint="Raise --lora-r, adapt more layers with --target-modules all-linear, or train with --mode full.",
        )


def _epochs(length: LengthPlan, data: DatasetFacts, evaluation: EvaluationPlan | None) -> Iterator[Problem]:
    rows, rule = data.tokens.sequences if data.tokens else data.rows, length.steps.rule
    if length.epochs > MANY_EPOCHS and rows < FEW_ROWS and evaluation is None:
        yield warning(
            "INPUT_EPOCHS_MANY",
            f"{rows:,} rows are gone through {length.epochs:.1f} times, and nothing shows when they are memorized.",
            where=rule.removeprefix("set by ") if rule.startswith("set by ") else "--steps",
            hint="Hold rows out with --eval-split 0.1, or train fewer steps.",
        )


def _template(tokenizer: TokenizerFacts | None, data: DatasetFacts, settings: DataSettings) -> Iterator[Problem]:
    has_template = tokenizer is not None and tokenizer.chat_template is not None
    if not has_template or data.rendering == "chat template" or settings.chat_format is not ChatFormat.AUTO:
        return
    yield warning(
        "INPUT_CHAT_TEMPLATE_UNUSED",
        f"The model has a chat template, and the rows are written as {data.rendering}: what it learns does not belong "
        "to its answers in a chat.",
        where="--data",
        hint="Give the rows as messages or prompt/completion; --data-format raw says that plain text is meant.",
    )


def _licence(model: ModelFacts) -> Iterator[Problem]:
    if model.licence and model.licence.lower() not in PERMISSIVE:
        yield warning(
            "INPUT_MODEL_LICENCE",
            f"{model.name} is under the licence {model.licence}, which binds what is trained from it, too.",
            where="--model",
            hint="Read it before you publish or sell the result.",
        )
