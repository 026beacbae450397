"""How rows become the sequences that go through the model."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision
from backprop.plan.facts.dataset import DataFacts, DatasetFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import BatchPlan, UpdatePlan
from backprop.plan.training.facts import plan_sequence_length
from backprop.plan.training.fit import FitPlan
from backprop.plan.training.footprint import Place, Sequences
from backprop.plan.training.packing import plan_packing


@attrs.frozen
class SequencePlan:
    """How long rows may be, and whether several share a sequence."""

    length: Decision[int]
    packing: Decision[bool]
    packed_length: Decision[int] | None
    objective: Objective = Objective.SFT

    def for_memory(self, data: DataFacts) -> Sequences:
        """The longest sequence that there is, or that there may be where rows were not tokenized."""
        heldout = self._longest_row(data.heldout) if data.heldout else None
        longest = self._longest_row(data.train)
        if self.packed_length is not None:
            return Sequences(max(longest, self.packed_length.value), is_packed=True, longest_heldout=heldout)
        return Sequences(longest, is_packed=False, longest_heldout=heldout, objective=self.objective)

    def _longest_row(self, data: DatasetFacts) -> int:
        lengths = data.tokens.length_counts if data.tokens else ()
        return max((length for length, _ in lengths), default=self.length.value)

    def batch(self, update: UpdatePlan, fit: FitPlan | None) -> BatchPlan:
        """The batch as asked for, or as memory lets it be once that is known."""
        return BatchPlan(
            micro_batch=fit.micro_batch if fit else update.micro_batch,
            accumulation=fit.accumulation if fit else update.accumulation,
            effective=update.effective,
            packing=self.packing,
            sequence_length=self.length,
            packed_length=self.packed_length,
            processes=update.processes,
        )


def plan_sequences(
    settings: TrainSettings,
    place: Place,
    *,
    data: DataFacts,
    update: UpdatePlan,
    uses_unsloth: bool,
    origins: Origins,
) -> SequencePlan:
    """The length that the model and the user allow, and packing where it is of use."""
    longest = plan_sequence_length(
        settings.model, place.model, origins=origins, has_traces=settings.data.reasoning_trace
    )
    packing, packed_length = plan_packing(
        settings.data.packing,
        rail=place.rail,
        model=place.model,
        data=data.train,
        sequence_length=longest.value,
        effective=update.effective,
        objective=settings.training.method,
        uses_unsloth=uses_unsloth,
        origins=origins,
    )
    return SequencePlan(longest, packing, packed_length, settings.training.method)


def heldout_sequences(data: DataFacts) -> int | None:
    """Rows that an evaluation goes over; None when nothing is held out."""
    heldout = data.heldout
    if heldout is None:
        return None
    return heldout.tokens.sequences if heldout.tokens else heldout.rows
