"""Losses as a line of text and as an image."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from backprop.plan.export.loss_chart import loss_svg, sparkline


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([1.0], "▁"), ([1.0, 1.0], "▁▁"), ([0.0, 1.0], "▁█"), ([1.0, float("nan"), 0.0], "█▁")],
)
def test_a_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_a_long_run_fits_a_line_and_an_image() -> None:
    losses = [(step, 10 / step) for step in range(1, 100_001)]
    assert len(sparkline([loss for _, loss in losses])) == 40
    image = loss_svg(losses, losses[::1000], title="a")
    assert len(image) < 30_000
    (line,) = ElementTree.fromstring(image).findall("{*}polyline")
    assert len(line.attrib["points"].split()) == 600


def test_an_image_is_well_formed_whatever_its_title() -> None:
    title = ElementTree.fromstring(loss_svg([(1, 1.0)], [], title='<&">')).find("{*}title")
    assert title is not None
    assert title.text == '<&">'


def test_every_point_lies_within_the_image() -> None:
    image = ElementTree.fromstring(loss_svg([(5, 3.0), (9, 1.0)], [(7, 40.0)], title=""))
    (line,), (circle,) = image.findall("{*}polyline"), image.findall("{*}circle")
    places = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    for x, y in [*places, (float(circle.attrib["cx"]), float(circle.attrib["cy"]))]:
        assert 0 < x < float(image.attrib["width"])
        assert 0 < y < float(image.attrib["height"])


def test_a_single_report_is_seen_as_a_point() -> None:
    image = ElementTree.fromstring(loss_svg([(5, 3.0)], [], title=""))
    assert image.findall("{*}polyline") == []
    assert len(image.findall("{*}circle")) == 1


def test_nothing_is_drawn_of_nothing() -> None:
    assert loss_svg([], [(1, float("inf"))], title="") == ""
