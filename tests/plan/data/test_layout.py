from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.data.layout import Detection, Layout, detect_layout, other_layout

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "1?"}]}
ALPACA = {"instruction": "1?", "output": "One."}
RATED = {"prompt": "1?", "completion": "One.", "label": True}


def test_the_layout_of_most_rows_is_that_of_the_data_set() -> None:
    found = detect_layout([ALPACA, CHAT, CHAT, {"x": 1}], text_column="text")
    assert found == Detection(Layout.OPENAI, 0.5, ((Layout.OPENAI, 2), (Layout.ALPACA, 1)), 4)


def test_of_two_layouts_with_as_many_rows_the_first_is_told() -> None:
    assert detect_layout([ALPACA, CHAT], text_column="text").layout is Layout.ALPACA


@pytest.mark.parametrize("rows", [[], [{"x": 1}, 7, None]])
def test_rows_without_a_layout_tell_none(rows: list[Any]) -> None:
    assert detect_layout(rows, text_column="text") == Detection(None, 0.0, (), len(rows))


def test_a_row_that_lacks_a_part_of_its_layout_is_not_in_another_one() -> None:
    assert other_layout({**RATED, "label": None}, Layout.KTO, text_column="text") is None
    assert other_layout({"text": "no turns"}, Layout.CHATML, text_column="text") is None
    assert other_layout({"x": 1}, Layout.OPENAI, text_column="text") is None
    assert other_layout(ALPACA, Layout.OPENAI, text_column="text") is Layout.ALPACA
    assert other_layout(RATED, Layout.COMPLETION, text_column="text") is Layout.KTO
