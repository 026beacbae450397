"""The loss as lines of numbers and as a drawing."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from backprop.plan.events import Evaluated, Started, Step
from backprop.plan.runs.event_log import RecordedEvent
from backprop.plan.runs.loss_curve import HEIGHT, MOST_POINTS, WIDTH, loss_svg, metrics_text

POLYLINE = "{http://www.w3.org/2000/svg}polyline"


def step(number: int, loss: float) -> RecordedEvent:
    event = Step(number, 100, 0.5, loss, learning_rate=1e-4, grad_norm=None, tokens_per_second=9.0, eta_seconds=None)
    return RecordedEvent("2026-01-01T00:00:00Z", event)


def evaluated(number: int, loss: float) -> RecordedEvent:
    return RecordedEvent("2026-01-01T00:00:00Z", Evaluated(number, loss, num_tokens=7, is_best=True))


def points(svg: str) -> list[list[tuple[float, float]]]:
    lines = ET.fromstring(svg).findall(POLYLINE)
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.attrib["points"].split())] for line in lines]


def test_reports_and_evaluations_become_lines_and_other_events_do_not() -> None:
    events = [RecordedEvent("t", Started("r", 100)), step(10, 2.0), evaluated(10, 2.5)]
    lines = [json.loads(line) for line in metrics_text(events).splitlines()]
    assert [line.get("loss") for line in lines] == [2.0, None]
    assert lines[1]["heldout_loss"] == 2.5
    assert [line["step"] for line in lines] == [10, 10]


def test_a_falling_loss_goes_down_and_to_the_right() -> None:
    (curve,) = points(loss_svg([step(1, 3.0), step(2, 2.0), step(3, 1.0)], title="run"))
    assert [x for x, _ in curve] == sorted(x for x, _ in curve)
    assert [y for _, y in curve] == sorted(y for _, y in curve), "y grows downwards in SVG"


def test_the_held_out_loss_is_a_line_of_its_own() -> None:
    svg = loss_svg([step(1, 3.0), step(2, 2.0), evaluated(2, 2.5)], title="run")
    assert [len(curve) for curve in points(svg)] == [2, 1]
    assert "held-out loss 2.5000" in svg


def test_a_run_without_a_report_is_an_empty_drawing_with_its_title() -> None:
    svg = loss_svg([], title="<run> & co")
    assert points(svg) == []
    assert "&lt;run&gt; &amp; co" in svg
    assert metrics_text([]) == ""


def test_a_long_run_is_drawn_with_as_many_points_as_can_be_seen_and_ends_where_it_ends() -> None:
    events = [step(i, 5.0 - i * 1e-4) for i in range(1, 10_001)]
    (curve,) = points(loss_svg(events, title="run"))
    assert len(curve) <= MOST_POINTS
    assert re.search(r"training loss 4\.0000", loss_svg(events, title="run"))


LOSSES = st.floats(0, 1e300, allow_subnormal=False) | st.floats(0, 10)


@given(st.lists(LOSSES, min_size=1, max_size=30), st.lists(LOSSES, max_size=5))
def test_every_point_lies_within_the_drawing(training: list[float], heldout: list[float]) -> None:
    events = [*map(step, range(1, 31), training), *map(evaluated, range(1, 31), heldout)]
    for curve in points(loss_svg(events, title="run")):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in curve)
