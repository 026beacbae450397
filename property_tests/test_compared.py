"""The quick ways to the text that is compared give the text that the exact ways give."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop.plan.data.certain import is_usual_row
from backprop.plan.data.compared import compared_text, compared_text_of_usual, normalised
from backprop.plan.data.layout import Layout, other_layout
from backprop.plan.data.rows import read_row
from property_tests.strategies.rows import any_rows, valid_rows


@pytest.mark.parametrize("layout", list(Layout))
@settings(max_examples=200)
@given(data=st.data())
def test_a_usual_row_is_compared_by_the_same_text_without_reading_it(layout: Layout, data: st.DataObject) -> None:
    row: Any = data.draw(any_rows(layout) | valid_rows(layout))
    if is_usual_row(row, layout, text_column="text"):
        quick = compared_text_of_usual(row, layout)
        if quick is not None:
            assert other_layout(row, layout, text_column="text") is None
            assert quick == compared_text(read_row(row, layout, text_column="text"))


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_plain_text_is_normalised_as_any_other(text: str) -> None:
    lowered = unicodedata.normalize("NFKC", text).lower()
    assert normalised(text) == " ".join(unicodedata.normalize("NFKC", lowered).split())


@given(st.text())
def test_what_is_normal_stays(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
