"""The micro-batch and recomputation with which a run fits: as little is given up as will do."""

from __future__ import annotations

import pytest

from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.training.plan import TrainPlan
from tests.plan.training.asking import World, roomy, with_free

SEVEN_B = ("--model", "Qwen/Qwen2.5-7B-Instruct")
WHOLE = ((2048, 400),)
"""Rows that fill the sequence."""


def needed(plan: TrainPlan) -> int:
    assert plan.memory is not None
    return plan.memory.needed_bytes


def on(hardware: HardwareFacts, *flags: str) -> TrainPlan:
    return World(hardware, WHOLE).plan(*SEVEN_B, *flags)


def test_activations_are_recomputed_only_when_they_do_not_fit() -> None:
    saved = on(roomy(24))
    assert not saved.gradient_checkpointing.value
    assert saved.gradient_checkpointing.rule == "not needed"
    exact = on(with_free(roomy(24), needed(saved)))
    assert not exact.gradient_checkpointing.value
    short = on(with_free(roomy(24), needed(saved) - 1))
    assert short.gradient_checkpointing.value
    assert short.gradient_checkpointing.rule == "fits the memory"
    assert short.batch == saved.batch


def test_recomputation_is_as_it_was_asked_for() -> None:
    assert on(roomy(24), "--gradient-checkpointing").gradient_checkpointing.value
    without = on(roomy(24), "--no-gradient-checkpointing")
    assert not without.gradient_checkpointing.value
    tight = with_free(roomy(24), needed(without) - 1)
    fewer = on(tight, "--no-gradient-checkpointing")
    assert not fewer.gradient_checkpointing.value
    assert fewer.batch.micro_batch.value < without.batch.micro_batch.value
    assert fewer.gradient_checkpointing.rule == "set by --no-gradient-checkpointing"


@pytest.mark.parametrize(("fits", "passes"), [(4, 4), (3, 6), (2, 8), (1, 16)])
def test_the_batch_is_lowered_and_the_update_keeps_its_sequences(fits: int, passes: int) -> None:
    recomputed = on(roomy(24), "--batch-size", str(fits), "--grad-accum", str(passes), "--gradient-checkpointing")
    plan = on(with_free(roomy(24), needed(recomputed)))
    assert (plan.batch.micro_batch.value, plan.batch.accumulation.value) == (fits, passes)
    assert plan.batch.effective == 16
    assert plan.gradient_checkpointing.value
    assert needed(plan) == needed(recomputed)


def test_a_lowered_batch_says_why() -> None:
    least = needed(on(roomy(24), "--batch-size", "1", "--gradient-checkpointing"))
    plan = on(with_free(roomy(24), least))
    assert plan.batch.micro_batch.rule == "fits the memory"
    assert plan.batch.accumulation.rule == "the same update"
    assert "the update keeps its 16 sequences" in plan.batch.micro_batch.why


def test_a_batch_that_was_asked_for_is_never_lowered() -> None:
    asked = needed(on(roomy(24), "--batch-size", "8", "--gradient-checkpointing"))
    assert on(with_free(roomy(24), asked), "--batch-size", "8").batch.micro_batch.value == 8
    problem = World(with_free(roomy(24), asked - 1), WHOLE).refusal(*SEVEN_B, "--batch-size", "8")
    assert problem.code == "RUNTIME_MEMORY_INSUFFICIENT"


def test_what_other_programs_hold_of_the_card_lowers_the_batch_but_not_the_tier() -> None:
    alone = on(roomy(48))
    beside_another = on(with_free(roomy(48), 16 << 30))
    assert alone.batch.micro_batch.value == 8
    assert beside_another.batch.micro_batch.value < 8
    assert beside_another.batch.effective == alone.batch.effective == 32


def test_short_rows_need_less_than_the_longest_sequence() -> None:
    long, short = (World(roomy(24), ((length, 40),)).plan(*SEVEN_B, "--no-packing") for length in (2048, 100))
    assert needed(short) < needed(long)
    tight = World(with_free(roomy(24), needed(short)), ((100, 40),))
    assert not tight.plan(*SEVEN_B, "--no-packing").gradient_checkpointing.value
