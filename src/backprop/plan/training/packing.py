"""Whether short rows share a sequence, which takes a model that keeps them from seeing one another."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.plan.data.packing import count_packed
from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.facts.dataset import DatasetFacts
from backprop.plan.facts.families import FAMILIES
from backprop.plan.facts.model import ModelFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.chosen import name_of, set_by
from backprop.plan.training.rail import Rail
from backprop.plan.training.unsloth import LETS_ROWS_SEE

CPU_PACKED_LENGTH = 512
"""Attention over a packed sequence costs the processor its length squared, other rows' places included."""
KEEP_ROWS_APART = frozenset(FAMILIES) | {
    "apertus",
    "arcee",
    "cohere",
    "cohere2",
    "ernie4_5",
    "exaone4",
    "gemma4_text",
    "glm",
    "glm4",
    "glm4_moe",
    "gpt_neox",
    "granitemoe",
    "internlm3",
    "llama4_text",
    "minimax_m2",
    "ministral3",
    "nemotron",
    "olmo",
    "phi",
    "phimoe",
    "seed_oss",
    "stablelm",
    "starcoder2",
}
"""Families whose code in transformers masks what stands before a position that begins anew; a test asks each of them.

Recurrent and convolutional layers carry a state on into the next row (qwen3_5, qwen3_next, lfm2, falcon_h1,
granitemoehybrid, nemotron_h), and so do attention layers that leave positions out of their masks (gpt_oss, opt, bloom).
"""
_KEEP_APART = "keep the rows of one sequence apart"


def keeps_rows_apart(model: ModelFacts) -> bool:
    """Whether the rows of a packed sequence are known not to see one another in this model."""
    return model.model_type in KEEP_ROWS_APART


def may_pack(asked: bool, *, model: ModelFacts, objective: Objective, origins: Origins) -> bool:
    """Whether settings and model allow it on a card; how many rows there are may still speak against it."""
    is_demanded = origins.of("data.packing") is not None
    return asked and objective is Objective.SFT and (is_demanded or keeps_rows_apart(model))


def plan_packing(
    asked: bool,
    *,
    rail: Rail,
    model: ModelFacts,
    data: DatasetFacts,
    sequence_length: int,
    effective: int,
    objective: Objective,
    uses_unsloth: bool,
    origins: Origins,
) -> tuple[Decision[bool], Decision[int] | None]:
    """Whether to pack, and into sequences of which length."""
    if objective is not Objective.SFT:
        why = "Every answer that is judged has a sequence of its own."
        return Decision(False, f"method {objective.value}", why), None
    chosen = set_by(origins, "data.packing", asked)
    if rail is Rail.MLX:
        return Decision(False, "MLX", "mlx-lm's models cannot keep the rows of one sequence apart."), None
    if not asked:
        return chosen or Decision(False, "given", "You asked for it."), None
    if chosen is None and not keeps_rows_apart(model):
        return Decision(False, f"family {model.model_type}", f"It is not known to {_KEEP_APART}."), None
    if chosen is None and uses_unsloth:
        return Decision(False, "Unsloth", LETS_ROWS_SEE), None
    if data.tokens is None:
        return Decision(False, "unknown row lengths", "Rows cannot be packed before they are tokenized."), None
    capacity = _packed_length(rail, sequence_length)
    packed = count_packed(data.tokens.length_counts, capacity.value)
    if chosen is None and packed < effective:
        made = "1 sequence" if packed == 1 else f"{packed} sequences"
        why = (
            f"Packed into {capacity.value:,} tokens each, all rows are {made}: one update would see them twice or more."
        )
        return Decision(False, "too few rows to pack", why), None
    rows = data.tokens.sequences
    made = "1 sequence" if packed == 1 else f"{packed:,} sequences"
    why = f"{rows:,} rows become {made}, each row isolated from its neighbours."
    return chosen or Decision(True, "default", why), capacity


def check_packing(packing: Decision[bool], model: ModelFacts, *, origins: Origins) -> Iterator[Problem]:
    """A warning where rows are packed that may see one another."""
    if packing.value and not keeps_rows_apart(model):
        name = name_of(origins, "data.packing", "--packing")
        yield warning(
            "CONFIG_INVALID_SETTING",
            f"{model.model_type} models are not known to {_KEEP_APART}: a row may be learned as if those before it in "
            "its sequence were its beginning.",
            where=name,
            hint=f"Leave out {name}.",
        )


def _packed_length(rail: Rail, sequence_length: int) -> Decision[int]:
    if rail is Rail.CUDA:
        return Decision(sequence_length, "sequence length", "The card takes whole sequences best.")
    why = "Attention over rows together costs the processor their length squared; longer rows stand alone."
    return Decision(min(sequence_length, CPU_PACKED_LENGTH), "CPU", why)
