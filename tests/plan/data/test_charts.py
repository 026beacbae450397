from __future__ import annotations

from xml.etree import ElementTree

from backprop.plan.data.charts import bar_chart


def widths(svg: str) -> list[float]:
    return [float(bar.attrib["width"]) for bar in ElementTree.fromstring(svg).iter("rect")]


def test_bars_are_as_long_as_their_counts_and_none_that_is_not_nothing_is_invisible() -> None:
    full, half, least, none = widths(bar_chart([("a", 1000), ("b", 500), ("c", 1), ("d", 0)], title="t"))
    assert half == full / 2
    assert 0 < least < half / 50
    assert none == 0


def test_labels_are_escaped() -> None:
    svg = bar_chart([('<b>&"', 1)], title='"><script>')
    assert "<b>" not in svg
    assert "<script>" not in svg
    assert [text.text for text in ElementTree.fromstring(svg).iter("text")] == ['<b>&"', "1 (100.0%)"]


def test_no_bars_are_no_chart() -> None:
    assert bar_chart([], title="t") == ""
    assert widths(bar_chart([("a", 0)], title="t")) == [0]
