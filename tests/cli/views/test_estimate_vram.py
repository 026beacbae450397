"""``estimate-vram`` as a person reads it."""

from __future__ import annotations

import attrs
import pytest

from backprop.cli.style import Style, visible_width
from backprop.cli.views.estimate_vram import show
from backprop.plan.facts.cards import CARDS
from backprop.plan.quantity import gib
from tests.plan.estimate.questions import LARGE_MACHINE, estimated
from tests.plan.training.worlds import card

WIDE = Style(width=400)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_cards_tier_is_pointed_at() -> None:
    tiers = show(estimated("--vram-gb", "24"), WIDE).split("\n\n")[-1]
    (line,) = (line for line in tiers.splitlines() if "this card" in line)
    assert words(line) == "24 GiB or more 4 this card"


def test_the_break_down_names_every_term_and_what_stands_beside_the_peak() -> None:
    report = estimated("--vram-gb", "24")
    text = words(show(report, WIDE))
    assert report.memory is not None
    for term in report.memory.terms:
        assert (f"{term.name.value} {gib(term.bytes)}" in text) == (gib(term.bytes) != "0.0 GiB")
    assert f"peak {gib(report.memory.peak_bytes)}" in text
    assert f"reserved {gib(report.memory.reserved_bytes)}" in text
    assert f"needed {gib(report.memory.needed_bytes)}" in text
    assert f"batch {report.recommended_batch_size}, accumulation {report.gradient_accumulation}" in text
    most = f"At most {report.largest_batch} sequences at once would fit, or one of {report.largest_sequence:,} tokens"
    assert most in text


def test_the_verdict_comes_before_the_numbers_and_the_tiers_come_last() -> None:
    for asked in (("--vram-gb", "24"), ("meta-llama/Llama-3.1-70B", "--vram-gb", "24")):
        parts = show(estimated(*asked), WIDE).split("\n\n")
        assert "fit" in parts[0].splitlines()[1]
        assert parts[1].startswith("Memory of the run")
        assert parts[-1].startswith("Where --batch-size auto begins")


def test_one_sequence_is_singular() -> None:
    report = estimated("--vram-gb", "12")
    assert report.largest_batch == 1
    assert "At most 1 sequence at once" in show(report, WIDE)


def test_nothing_is_0_gib() -> None:
    for asked in (
        (),
        ("--vram-gb", "24"),
        ("--vram-gb", "16", "--lora-r", "16"),
        ("Qwen/Qwen2.5-0.5B", "--vram-gb", "8", "--lora-preset", "fast"),
    ):
        assert " 0.0 GiB" not in show(estimated(*asked), WIDE)


def test_the_name_says_who_gave_it_unless_the_question_did() -> None:
    assert show(estimated("Qwen/Qwen2.5-0.5B"), WIDE).startswith("Qwen/Qwen2.5-0.5B: 494")
    assert show(estimated("-m", "Qwen/Qwen2.5-0.5B"), WIDE).startswith("Qwen/Qwen2.5-0.5B (from --model): 494")
    assert show(estimated(), WIDE).startswith("Qwen/Qwen2.5-7B-Instruct (the default, for none was named): 7.6")


def test_what_is_free_of_a_card_that_is_not_here_is_assumed() -> None:
    assert "on a card with 24 GiB: 23.3 GiB free assumed." in show(estimated("--vram-gb", "24"), WIDE)
    assert "24.0 of 24.0 GiB free." in show(estimated(hardware=card(24)), WIDE)


def test_what_is_not_predicted_has_a_question_mark_and_what_cannot_be_has_none() -> None:
    report = estimated("--vram-gb", "80")
    way = attrs.evolve(report.ways[0], needed_bytes=None, fits=None, largest_batch=None)
    unknown = attrs.evolve(report, ways=(way,))
    never = attrs.evolve(way, fits=False, largest_batch=0, batch_size=None, note="no such method")
    impossible = attrs.evolve(report, ways=(never,))
    assert "--load-in-4bit ? ? ? batch 1" in words(show(unknown, WIDE))
    assert "--load-in-4bit – no – no such method" in words(show(impossible, WIDE))


def test_what_refuses_the_run_is_told_and_what_nobody_knows() -> None:
    report = estimated("Qwen/Qwen2.5-14B", "--mode", "full", "--vram-gb", "180")
    assert f"It does not fit: {report.refusal}" in words(show(report, WIDE))
    unknown = attrs.evolve(report, memory=None, fits=None)
    assert "Whether it fits is not predicted." in show(unknown, WIDE)
    assert "not predicted" not in show(estimated(), WIDE)


def test_recomputation_is_said_only_where_it_happens() -> None:
    assert "activations recomputed" in show(estimated("--vram-gb", "24"), WIDE)
    assert "activations recomputed" not in show(estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "80"), WIDE)


def test_a_model_that_does_not_fit_is_told_so_with_what_would_help() -> None:
    report = estimated("meta-llama/Llama-3.1-70B", "--vram-gb", "24")
    text = words(show(report, WIDE))
    assert f"It does not fit: {report.why_not}." in text
    assert "What would make it fit" in text
    assert all(f"{remedy.flags} {gib(remedy.needed_bytes)}" in text for remedy in report.remedies)
    assert "What would make it fit" not in show(estimated("--vram-gb", "24"), WIDE)
    helpless = show(attrs.evolve(report, remedies=()), WIDE)
    assert "What would make it fit\n  No change that I know makes it fit" in helpless


def test_every_way_to_train_stands_there_with_what_it_needs() -> None:
    report = estimated("Qwen/Qwen2.5-3B", "--vram-gb", "24", hardware=LARGE_MACHINE)
    text = words(show(report, WIDE))
    for way in report.ways:
        assert way.needed_bytes is not None
        assert way.optimizer is not None
        fits = f"yes {way.largest_batch:,}" if way.fits else "no –"
        fits += f" batch 1, recomputed, {way.optimizer.value}"
        assert f"{way.flags} {gib(way.needed_bytes)} {fits}" in text
    offload = report.ways[-1]
    assert f"{gib(offload.host_bytes)} of host memory" in text


def test_without_a_card_the_common_ones_are_shown() -> None:
    text = words(show(estimated(), WIDE))
    assert "No NVIDIA card is here" in text
    assert "--vram-gb" in text
    assert all((one.name in text) == one.has_bf16 for one in CARDS if one.name not in ("T4", "L4"))
    assert "fit." not in text
    assert "8 GiB – – – – RTX 3070" in text


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("asked", [("--vram-gb", "24"), (), ("meta-llama/Llama-3.1-70B", "--vram-gb", "24")])
def test_no_line_is_wider_than_the_terminal(width: int, asked: tuple[str, ...]) -> None:
    lines = show(estimated(*asked), Style(width=width)).splitlines()
    assert [line for line in lines if visible_width(line) > width] == []
