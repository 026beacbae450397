"""What a refusal for want of memory recommends: each change where it alone helps, and all of them accepted."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.quantity import gib
from tests.plan.training.asking import World, hinted, roomy, with_free
from tests.plan.training.worlds import CPU_MACHINE

THREE_B = "HuggingFaceTB/SmolLM3-3B"
"""A model without a smaller one in its series."""
PINNED = {
    "--model": THREE_B,
    "--lora-r": "4",
    "--target-modules": "all-linear",
    "--optim": "paged_adamw_8bit",
    "--batch-size": "1",
    "--load-in-4bit": None,
    "--gradient-checkpointing": None,
    "--no-packing": None,
}
"""A run that can hardly be made smaller: every change is pinned down."""
LEAST_FIRST = ("--batch-size", "--gradient-checkpointing", "--optim", "--max-seq-length", "--lora-r", "--model")
MACHINE = attrs.evolve(roomy(24), ram_available_bytes=8 << 30)
"""A card with room in a machine without: nothing can be offloaded."""
SHORT = ((128, 100),)
LONG_TAIL = ((200, 95), (512, 5))


def flags(**changes: str | None) -> tuple[str, ...]:
    """The pinned run with some flags set otherwise; underscores are dashes, and ``no_x`` takes the place of ``x``."""
    named = {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    kept = {flag: value for flag, value in PINNED.items() if flag.replace("--", "--no-") not in named}
    return tuple(word for pair in {**kept, **named}.items() for word in pair if word is not None)


def needed(there: World, *asked_flags: str) -> int:
    memory = there.plan(*asked_flags).memory
    assert memory is not None
    return memory.needed_bytes


@pytest.mark.parametrize(
    ("run", "change", "lengths"),
    [
        (flags(batch_size="4"), "--batch-size 2 --grad-accum 8", SHORT),
        (flags(batch_size="6", grad_accum="1"), "--batch-size 3 --grad-accum 2", SHORT),
        (flags(no_gradient_checkpointing=None), "--gradient-checkpointing", SHORT),
        (flags(optim="adamw_torch_fused"), "--optim paged_adamw_8bit", SHORT),
        (flags(no_load_in_4bit=None), "--load-in-4bit", SHORT),
        (flags(), "--max-seq-length 256", LONG_TAIL),
        (flags(lora_r="256"), "--lora-r 64", SHORT),
        (flags(model="Qwen/Qwen2.5-7B"), "--model Qwen/Qwen2.5-3B", SHORT),
        (("--model", THREE_B, "--mode", "full", "--batch-size", "1", "--gradient-checkpointing"), "--mode lora", SHORT),
    ],
)
def test_where_one_change_alone_helps_it_is_the_one_that_is_named(
    run: tuple[str, ...], change: str, lengths: tuple[tuple[int, int], ...]
) -> None:
    """Free is to the byte what the changed run needs, so that nothing smaller will do."""
    free = needed(World(MACHINE, lengths), *run, *change.split())
    there = World(with_free(MACHINE, free), lengths)
    problem = there.refusal(*run)
    assert problem.code == "RUNTIME_MEMORY_INSUFFICIENT"
    single = [found for found in hinted(problem.hint) if found[0].count("--") == change.count("--")]
    # Adafactor takes less than AdamW in 8 bits does, but is another optimizer: it is named after it.
    assert [found for found in single if found[0] != "--optim adafactor"] == [(change, gib(free))]
    assert single[0] == (change, gib(free))
    assert needed(there, *run, *change.split()) == free
    assert World(with_free(MACHINE, free - 1), lengths).refusal(*run, *change.split()).code == problem.code


def test_offload_helps_where_the_card_is_small_and_the_machine_is_large() -> None:
    run = ("--model", THREE_B, "--mode", "full", "--batch-size", "1")
    found = World(with_free(roomy(24), 16 << 30)).refusal(*run)
    assert "--full-ft-offload" in [change for change, _ in hinted(found.hint)]
    windows = attrs.evolve(with_free(roomy(24), 16 << 30), system="Windows")
    assert "--full-ft-offload" not in World(windows).refusal(*run).hint
    little = attrs.evolve(with_free(roomy(24), 16 << 30), ram_available_bytes=8 << 30)
    assert "--full-ft-offload" not in World(little).refusal(*run).hint


WORLDS = {
    "a large model": (with_free(roomy(24), 24 << 30), ("--model", "Qwen/Qwen2.5-32B-Instruct")),
    "long rows": (with_free(roomy(16), 12 << 30), ("--model", "Qwen/Qwen2.5-7B-Instruct", "--max-seq-length", "4096")),
    "whole weights": (with_free(roomy(24), 20 << 30), ("--model", "Qwen/Qwen2.5-7B-Instruct", "--no-load-in-4bit")),
    "a fixed batch": (with_free(roomy(24), 18 << 30), ("--model", "Qwen/Qwen2.5-7B-Instruct", "--batch-size", "24")),
    "full": (with_free(roomy(24), 24 << 30), ("--model", "Qwen/Qwen2.5-3B", "--mode", "full")),
    "full past the ceiling": (with_free(roomy(24), 24 << 30), ("--model", "Qwen/Qwen2.5-7B", "--mode", "full")),
    "soft caps": (with_free(roomy(24), 14 << 30), ("--model", "google/gemma-2-9b", "--batch-size", "8")),
    "DoRA": (with_free(roomy(24), 14 << 30), ("--model", "meta-llama/Llama-3.1-8B", "--use-dora")),
    "experts": (with_free(roomy(80), 66 << 30), ("--model", "Qwen/Qwen3-30B-A3B", "--batch-size", "8")),
    "the CPU": (attrs.evolve(CPU_MACHINE, ram_available_bytes=3 << 30), ("--model", "Qwen/Qwen2.5-0.5B")),
}


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("lengths", [((2048, 100),), ((300, 400), (900, 30), (4000, 9))])
def test_every_change_in_a_hint_is_accepted_from_the_command_line_and_needs_what_was_said(
    name: str, lengths: tuple[tuple[int, int], ...]
) -> None:
    hardware, run = WORLDS[name]
    there = World(hardware, lengths)
    problem = there.refusal(*run, "--allow-truncation")
    found = hinted(problem.hint)
    assert found, problem
    assert len(found) <= 3
    for change, size in found:
        assert gib(needed(there, *run, "--allow-truncation", *change.split())) == size


def test_rows_are_not_cut_unless_nearly_all_stay_whole_or_the_user_allows_it() -> None:
    half = ((200, 50), (512, 50))
    free = needed(World(roomy(24), half), *flags(), "--max-seq-length", "256", "--allow-truncation")
    there = World(with_free(roomy(24), free), half)
    assert "--max-seq-length" not in there.refusal(*flags()).hint
    assert ("--max-seq-length 256", gib(free)) in hinted(there.refusal(*flags(), "--allow-truncation").hint)


def test_a_run_that_nothing_makes_fit_is_told_to_look_at_other_cards() -> None:
    problem = World(with_free(roomy(24), 1 << 30)).refusal(*flags())
    assert hinted(problem.hint) == ()
    assert "backprop estimate-vram" in problem.hint


def test_changes_come_from_what_changes_least_of_what_is_learned() -> None:
    """A smaller batch at a time changes nothing, a smaller model everything."""
    run = ("--model", "Qwen/Qwen2.5-7B", "--batch-size", "16", "--optim", "adamw_torch")
    named = hinted(World(with_free(roomy(24), 20 << 30), ((2048, 100),)).refusal(*run, "--allow-truncation").hint)
    places = [LEAST_FIRST.index(change.split()[0]) for change, _ in named]
    assert places == sorted(places)
    assert places[0] == 0
