"""A base's licence is what its own card declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop.effects.probe.licence import observe_licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# A", "apache-2.0"),
        ("---\ntags: [x]\nlicense: 'MIT'\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: x\n---\n", None),
        ("---\nlicense:\n- mit\n---\n", None),
        ("# A\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_head_of_the_card(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert observe_licence(tmp_path) == licence


def test_without_a_card_none_is_known(tmp_path: Path) -> None:
    assert observe_licence(tmp_path) is None
    assert observe_licence(None) is None
