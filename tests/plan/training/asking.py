"""Plans of runs that are asked for as on the command line, and the flags that a refusal's hint names."""

from __future__ import annotations

import re

import attrs

from backprop.cli.arguments import parse_arguments
from backprop.plan.decision import Problem, Refused, errors_among
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.dataset import RowCount, TokenFacts
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelSource
from backprop.plan.settings.resolve import Resolved, resolve
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.plan import TrainPlan, plan_train
from tests.plan.training.worlds import card, dataset, tokens, world

Lengths = tuple[tuple[int, int], ...]
"""Rows as (tokens, rows)."""
HINTED = re.compile(r"(--[^;:()]+?) \((\d+\.\d GiB)\)")
"""A change as a hint names it, and what the run needs with it."""


def asked(*flags: str) -> Resolved[TrainSettings]:
    """What ``backprop train`` with these flags asks for."""
    arguments = parse_arguments(("train", *flags))
    assert not arguments.problems
    resolved = resolve(TrainSettings, [arguments.flags])
    assert isinstance(resolved, Resolved), resolved
    return resolved


@attrs.frozen
class World:
    """A machine and rows of given lengths, which any model may be asked for."""

    hardware: HardwareFacts
    lengths: Lengths = ((128, 1000),)

    def facts(self, settings: TrainSettings) -> TrainFacts:
        """What a look at this world finds for these settings: their model, and rows cut at their length."""
        name = settings.model.name
        model = facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.DIRECTORY, directory="/m")
        return attrs.evolve(
            world(hardware=self.hardware, data=dataset(self._cut(settings.model.max_seq_length))), model=model
        )

    def _cut(self, longest: int) -> TokenFacts:
        counts: dict[int, int] = {}
        for length, rows in self.lengths:
            counts[min(length, longest)] = counts.get(min(length, longest), 0) + rows
        truncated = sum(rows for length, rows in self.lengths if length > longest)
        return tokens(tuple(sorted(counts.items())), truncated=RowCount(truncated))

    def answer(self, *flags: str) -> TrainPlan | Refused:
        """The plan of ``backprop train`` with these flags, or the refusal."""
        resolved = asked(*flags)
        return plan_train(resolved.settings, self.facts(resolved.settings), origins=resolved.origins)

    def plan(self, *flags: str) -> TrainPlan:
        """The plan, which must be accepted."""
        plan = self.answer(*flags)
        assert isinstance(plan, TrainPlan), plan
        return plan

    def refusal(self, *flags: str) -> Problem:
        """The only problem that stops the run."""
        refused = self.answer(*flags)
        assert isinstance(refused, Refused)
        (problem,) = errors_among(refused.problems)
        return problem


def with_free(hardware: HardwareFacts, num_bytes: int) -> HardwareFacts:
    """The same machine, of whose card only so much is free."""
    gpu = hardware.gpu
    assert gpu is not None
    return attrs.evolve(hardware, gpus=(attrs.evolve(gpu, vram_free_bytes=num_bytes),))


def roomy(vram_gib: float) -> HardwareFacts:
    """A card of the size that has room for everything, in a machine that has, too."""
    endless = 1 << 46
    machine = attrs.evolve(card(vram_gib), ram_total_bytes=endless, ram_available_bytes=endless, disk_free_bytes=None)
    return with_free(machine, endless)


def hinted(hint: str) -> tuple[tuple[str, str], ...]:
    """(flags, GiB) of each change that a hint names."""
    return tuple((flags, size) for flags, size in HINTED.findall(hint))
