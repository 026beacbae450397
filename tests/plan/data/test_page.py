"""The page: whole, valid, safe, and asking for nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest

from backprop import DataReport, analyze_dataset
from backprop.plan.data.lengths import Bin
from backprop.plan.data.page import bin_bars, quality_page

VOID = {"meta", "link", "br"}
HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(2)> & "quotes"'


class Reader(HTMLParser):
    """Checks that every tag is closed, and collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DataReport:
    def chat(asked: str, answered: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}

    rows: list[Any] = [chat(f"{HOSTILE} {i}", "") for i in range(3)]
    rows += [chat(HOSTILE, f"answer number {i} is here") for i in range(40)] + [{HOSTILE: 1}]
    rows += [
        chat("hm", "<think>a b c</think> yes <|im_end|>"),
        chat("mail", "ann@example.org"),
        chat("x", HOSTILE * 900),
    ]
    path = tmp_path_factory.mktemp("data") / "rows & <b>.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return analyze_dataset(path, against=path, fail_on_dups=0.0)


def test_every_tag_is_closed_and_every_text_escaped(report: DataReport) -> None:
    reader = read(quality_page(report))
    tags = {tag for tag, _ in reader.seen}
    assert not tags & {"script", "img", "iframe", "object", "form", "b"}
    assert any("<script>alert(1)</script>" in text for text in reader.text), "hostile text is shown as text"
    assert not any(name.startswith("on") for _, attributes in reader.seen for name in attributes)


def test_nothing_is_asked_for_from_anywhere(report: DataReport) -> None:
    page = quality_page(report)
    for tag, attributes in read(page).seen:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


def test_it_has_what_the_report_has(report: DataReport) -> None:
    text = " ".join(read(quality_page(report)).text)
    assert report.verdict.value in text
    for reason in report.failed_thresholds:
        assert reason in text
    for check in report.checks:
        assert check.check.value in text
        assert all(place.where in text for place in check.places)
    for cluster in report.clusters:
        assert all(place in text for place in cluster.places)
    assert "e-mail address" in text
    assert "ann@" not in text
    assert quality_page(report).count("<svg") >= 4


def test_there_are_colours_for_light_and_for_dark(report: DataReport) -> None:
    page = quality_page(report)
    light = page[page.index(":root{") : page.index("@media(prefers-color-scheme:dark)")]
    dark = page[page.index("@media(prefers-color-scheme:dark)") :]
    names = set(re.findall(r"(--\w+):", light))
    assert names
    assert names == set(re.findall(r"(--\w+):", dark))
    assert set(re.findall(r"var\((--\w+)\)", page)) <= names


def test_a_report_over_nothing_is_a_page(report: DataReport) -> None:
    empty = attrs.evolve(report, contamination=None, checks=(), clusters=(), pii=(), outliers=(), scripts={}, turns={})
    assert "None of the kinds" in " ".join(read(quality_page(empty)).text)


def test_bins_are_named_by_their_ends() -> None:
    assert bin_bars((Bin(16, 1), Bin(32, 2), Bin(64, 3))) == [("up to 16", 1), ("17 to 32", 2), ("33 to 64", 3)]
    assert bin_bars((Bin(64, 1),)) == [("33 to 64", 1)]
    assert bin_bars((Bin(32_768, 1), Bin(None, 2))) == [("16,385 to 32,768", 1), ("above 32,768", 2)]
    assert bin_bars((Bin(None, 2),)) == [("above 32,768", 2)]
