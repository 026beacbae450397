"""A run at a place, of which an estimate asks variations: other batches, other lengths, other ways to train."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import attrs

from backprop.plan.decision import Problem
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import plan_update
from backprop.plan.training.changes import SEQUENCE_STEP
from backprop.plan.training.footprint import Footprint, Place, Sequences, plan_footprint

MOST_SEQUENCES = 1024


@attrs.frozen
class Question:
    """A run and its place, of which variations are asked."""

    run: TrainSettings
    place: Place
    sequences: Sequences
    origins: Origins

    def footprint(
        self, run: TrainSettings, *, batch: int | None = None, length: int | None = None
    ) -> Footprint | tuple[Problem, ...]:
        if batch is not None:
            run = attrs.evolve(run, training=attrs.evolve(run.training, per_device_train_batch_size=batch))
        longest = self.sequences.longest if length is None else length
        return plan_footprint(
            run,
            self.place,
            update=plan_update(
                run.training,
                rail=self.place.rail,
                hardware=self.place.hardware,
                objective=self.sequences.objective,
                origins=self.origins,
            ),
            sequences=attrs.evolve(self.sequences, longest=longest),
            origins=self.origins,
        )

    @property
    def fewest(self) -> int:
        """Sequences at once, at least."""
        return self.sequences.objective.fewest_rows

    def lacks_method(self, run: TrainSettings) -> str:
        """Why the method does not go with the mode of ``run``; empty where it does."""
        method = self.sequences.objective
        if run.training.mode is TrainMode.FULL and method is not Objective.SFT:
            return f"{method.value} trains adapters alone"
        return ""

    def fits(self, run: TrainSettings, *, batch: int | None = None, length: int | None = None) -> bool:
        """Whether there is a card, and the variation fits it."""
        found = self.footprint(run, batch=batch or self.fewest, length=length)
        return isinstance(found, Footprint) and found.budget is not None and found.may_run


def largest_batch(question: Question, run: TrainSettings) -> int:
    """Sequences that fit at once; 0 when not even one does."""
    found = _largest(MOST_SEQUENCES, lambda batch: question.fits(run, batch=batch))
    return found if found >= question.fewest else 0


def largest_sequence(question: Question) -> int:
    """Tokens of one sequence that fit, in the steps that remedies take, up to the model's context."""
    longest = question.place.model.max_position_embeddings or question.sequences.longest
    steps = max(1, longest // SEQUENCE_STEP)
    return SEQUENCE_STEP * _largest(steps, lambda number: question.fits(question.run, length=SEQUENCE_STEP * number))


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The last of 1 … ``most`` that fits, where all before one that fits do too; 0 when none does."""
    return bisect.bisect_left(range(1, most + 1), True, key=lambda value: not fits(value))
