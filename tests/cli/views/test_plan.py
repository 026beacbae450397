"""The plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from backprop.cli.style import Style, visible_width
from backprop.cli.views.plan import show_plan
from backprop.plan.decision import Decision
from backprop.plan.facts.dataset import RowCount
from backprop.plan.quantity import quantity
from backprop.plan.settings.model import Dtype
from backprop.plan.settings.training import TrainMode
from tests.plan.training.worlds import GIB, card, dataset, planned, settings, tokens, world

WIDE = Style(width=400)


def decisions_in(value: Any) -> Iterator[Decision[Any]]:
    """Every decision within a plan."""
    if isinstance(value, Decision):
        yield value
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from decisions_in(getattr(value, field.name))


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("vram_gib", [None, 8, 24])
def test_every_decision_stands_there_with_its_rule(vram_gib: int | None) -> None:
    facts = world() if vram_gib is None else world(hardware=card(vram_gib))
    text = words(show_plan(planned(settings(), facts), WIDE))
    plan = planned(settings(), facts)
    found = [d for d in decisions_in(plan) if d is not plan.precision.load_in_4bit or d.value]
    assert len(found) > 12
    assert [d.rule for d in found if d.rule not in text] == []


def test_rows_that_are_cut_or_left_out_are_counted_with_an_example() -> None:
    found = tokens(truncated=RowCount(4, "rows.jsonl:7"), without_target=RowCount(2, "rows.jsonl:9"))
    text = words(show_plan(planned(settings(), world(data=dataset(found))), WIDE))
    assert "cut 4 rows" in text
    assert "rows.jsonl:7" in text
    assert "left out 2 rows" in text


def test_rows_that_are_not_trained_on_do_not_count_as_such() -> None:
    text = words(show_plan(planned(settings(), world(data=dataset(rows=120))), WIDE))
    assert "rows 100 of 120 openai" in text


def test_held_out_rows_add_when_they_are_measured_and_when_the_run_stops() -> None:
    heldout = dataset(tokens(((60, 20),)))
    text = words(show_plan(planned(settings(training={"early_stopping": 3}), world(heldout=heldout)), WIDE))
    assert "held out 20" in text
    assert "every 10 steps" in text
    assert "early stop 3 evaluations" in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = show_plan(planned(settings(), world(hardware=card(24))), Style(width=width)).splitlines()
    assert [line for line in lines if visible_width(line) > width] == []


def test_control_characters_of_names_are_written_out() -> None:
    facts = world(data=dataset(name="/data/\x1b[2Jrows.jsonl"))
    assert "\x1b" not in show_plan(planned(settings(), facts), WIDE)


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, "999"), (9_999, "9,999"), (12_345, "12.3 k"), (134_500_000, "134.5 M"), (7.6e9, "7.6 B"), (GIB, "1.1 B")],
)
def test_quantities_keep_the_digits_that_matter(number: float, text: str) -> None:
    assert quantity(number) == text


def test_a_full_plan_shows_its_weights_where_an_adapter_would_stand() -> None:
    wanted = settings(training={"mode": TrainMode.FULL, "full_ft_offload": True}, model={"dtype": Dtype.BFLOAT16})
    text = show_plan(planned(wanted, world()), WIDE)
    assert "Adapter" not in text
    for words in ("134.5 M", "stochastic", "offload", "gloo", "norms and biases have none"):
        assert words in text
