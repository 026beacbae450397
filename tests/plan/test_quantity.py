"""Numbers as a person reads them."""

from __future__ import annotations

import itertools

import pytest

from backprop.plan.quantity import GIB, about, counted, gib


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0.0 GiB"), (GIB, "1.0 GiB"), (24 * GIB, "24.0 GiB"), (10.06 * GIB, "10.1 GiB"), (1e9, "0.9 GiB")],
)
def test_memory_is_told_in_gib(num_bytes: float, text: str) -> None:
    assert gib(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (40, "40 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (720, "12 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (12_240, "3.4 h"),
        (36_000, "10 h"),
        (129_600, "1.5 days"),
        (864_000, "10 days"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_a_person_would_choose(seconds: float, text: str) -> None:
    assert about(seconds) == text


def test_a_longer_duration_is_never_told_as_a_shorter_one() -> None:
    sizes = {"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86_400.0}

    def told(seconds: float) -> float:
        number, unit = about(seconds).split()
        return float(number) * sizes[unit]

    durations = [1.07**power for power in range(220)]
    assert all(told(a) <= told(b) for a, b in itertools.pairwise(durations))
    assert all(told(seconds) == pytest.approx(seconds, rel=0.05) for seconds in durations if seconds >= 10)


def test_one_is_one() -> None:
    assert [counted(number, "step") for number in (0, 1, 1200)] == ["0 steps", "1 step", "1,200 steps"]
