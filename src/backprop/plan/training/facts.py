"""All that a training plan looks at, and the one decision that the look itself needs."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts, TokenizerFacts
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.chosen import set_by


@attrs.frozen
class TrainFacts:
    """The world as one run finds it."""

    model: ModelFacts | Absent
    tokenizer: TokenizerFacts | Absent
    data: DataFacts | Absent
    hardware: HardwareFacts
    software: SoftwareFacts
    output_absent: Absent | None = None
    """Why nothing can be written where the output is to go; None when it can."""
    processes: Processes = SINGLE
    """Those that a launcher has started to train together."""


TRACE_SEQUENCE_LENGTH = 8192
"""Of a run on reasoning traces, unless a length is asked for."""


def sequence_length_of(asked: int | None, model: ModelFacts) -> int:
    """The longest row in tokens, as ``train`` plans it when it is given ``asked``, or nothing."""
    settings = ModelSettings() if asked is None else attrs.evolve(ModelSettings(), max_seq_length=asked)
    return plan_sequence_length(settings, model, origins=Origins()).value


def plan_sequence_length(
    settings: ModelSettings, model: ModelFacts | Absent, *, origins: Origins, has_traces: bool = False
) -> Decision[int]:
    """The longest row in tokens; needed before the data is read, since rows are cut and counted by it."""
    asked = settings.max_seq_length
    is_raised = has_traces and asked == ModelSettings().max_seq_length and not origins.of("model.max_seq_length")
    asked = TRACE_SEQUENCE_LENGTH if is_raised else asked
    longest = None if isinstance(model, Absent) else model.max_position_embeddings
    if longest is not None and longest < asked:
        return Decision(longest, "the model's context", f"The model knows positions up to {longest:,} tokens.")
    if is_raised:
        return Decision(asked, "reasoning traces", "Traces are long; a row that is cut would never learn its answer.")
    return set_by(origins, "model.max_seq_length", asked) or Decision(
        asked, "default", "Long enough for most conversations; longer rows are counted."
    )
