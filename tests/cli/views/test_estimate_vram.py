"""``estimate-vram`` as a person reads it."""

from __future__ import annotations

import attrs
import pytest

from backprop.cli.style import Style, visible_width
from backprop.cli.views.estimate_vram import show
from backprop.plan.facts.cards import CARDS
from backprop.plan.quantity import gib
from tests.plan.estimate.questions import LARGE_MACHINE, estimated

WIDE = Style(width=400)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_cards_tier_is_pointed_at() -> None:
    tiers = show(estimated("--vram-gb", "24"), WIDE).split("\n\n")[1]
    (line,) = (line for line in tiers.splitlines() if "this card" in line)
    assert words(line) == "24 GiB or more 4 this card"


def test_the_break_down_names_every_term_and_what_stands_beside_the_peak() -> None:
    report = estimated("--vram-gb", "24")
    text = words(show(report, WIDE))
    assert report.memory is not None
    for term in report.memory.terms:
        assert f"{term.name.value} {gib(term.bytes)}" in text
    assert f"peak {gib(report.memory.peak_bytes)}" in text
    assert f"reserved {gib(report.memory.reserved_bytes)}" in text
    assert f"needed {gib(report.memory.needed_bytes)}" in text
    assert f"batch {report.recommended_batch_size}, accumulation {report.gradient_accumulation}" in text
    assert f"so do {report.largest_batch} sequences at once, or one of {report.largest_sequence:,} tokens" in text


def test_what_is_guessed_and_what_refuses_the_run_is_told() -> None:
    report = estimated("Qwen/Qwen2.5-14B", "--mode", "full", "--vram-gb", "180")
    text = words(show(attrs.evolve(report, note="A guess."), WIDE))
    assert report.refusal in text
    assert "A guess." in text
    assert "It does not fit." not in text
    unknown = attrs.evolve(report, memory=None, note="Nobody knows.", refusal="")
    assert "Nobody knows." in words(show(unknown, WIDE))


def test_recomputation_is_said_only_where_it_happens() -> None:
    assert "activations recomputed" in show(estimated("--vram-gb", "24"), WIDE)
    assert "activations recomputed" not in show(estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "80"), WIDE)


def test_a_model_that_does_not_fit_is_told_so_with_what_would_help() -> None:
    report = estimated("meta-llama/Llama-3.1-70B", "--vram-gb", "24")
    text = words(show(report, WIDE))
    assert "It does not fit." in text
    assert "What would make it fit" in text
    assert all(f"{remedy.flags} {gib(remedy.needed_bytes)}" in text for remedy in report.remedies)
    assert "What would make it fit" not in show(estimated("--vram-gb", "24"), WIDE)


def test_every_way_to_train_stands_there_with_what_it_needs() -> None:
    report = estimated("Qwen/Qwen2.5-3B", "--vram-gb", "24", hardware=LARGE_MACHINE)
    text = words(show(report, WIDE))
    for way in report.ways:
        assert way.needed_bytes is not None
        fits = f"yes up to {way.largest_batch:,} at once" if way.fits else "no"
        assert f"{way.flags} {gib(way.needed_bytes)} {fits}" in text
    offload = report.ways[-1]
    assert f"and {gib(offload.host_bytes)} of host memory" in text


def test_without_a_card_the_common_ones_are_shown() -> None:
    text = words(show(estimated(), WIDE))
    assert "No NVIDIA card is here" in text
    assert "--vram-gb" in text
    assert all(card.name in text for card in CARDS)
    assert "fit." not in text
    assert "8 GiB – – – – RTX 3070" in text


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("asked", [("--vram-gb", "24"), (), ("meta-llama/Llama-3.1-70B", "--vram-gb", "24")])
def test_no_line_is_wider_than_the_terminal(width: int, asked: tuple[str, ...]) -> None:
    lines = show(estimated(*asked), Style(width=width)).splitlines()
    assert [line for line in lines if visible_width(line) > width] == []
