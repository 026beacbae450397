from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backprop.plan.runs.run_id import is_run_id, make_run_id, utc_text

NOW = datetime(2026, 11, 24, 19, 38, 2, tzinfo=UTC)


def test_a_run_id_is_the_time_in_utc_and_four_characters() -> None:
    assert make_run_id(NOW, 0) == "20261124-193802-0000"
    assert make_run_id(NOW.astimezone(timezone(timedelta(hours=-7))), 31) == "20261124-193802-000z"


def test_run_ids_sort_by_time() -> None:
    assert make_run_id(NOW, 2**20 - 1) < make_run_id(NOW + timedelta(seconds=1), 0)


def test_different_entropy_gives_different_ids_within_a_second() -> None:
    assert len({make_run_id(NOW, entropy) for entropy in range(5000)}) == 5000


@pytest.mark.parametrize("text", ["", "..", "20261124-193802-k3f", "20261124-193802-k3f9/..", "20261124-193802-k3f9\n"])
def test_nothing_else_is_a_run_id(text: str) -> None:
    assert not is_run_id(text)


def test_what_is_made_is_a_run_id() -> None:
    assert is_run_id(make_run_id(NOW, 123_456_789))


def test_moments_are_kept_in_utc_to_the_second() -> None:
    assert utc_text(NOW + timedelta(microseconds=9)) == "2026-11-24T19:38:02Z"
