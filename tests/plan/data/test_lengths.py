"""Lengths: quantiles, histograms, and what stands out."""

from __future__ import annotations

import math

import pytest

from backprop.plan.data.lengths import (
    LONGEST_TOKENS,
    Bin,
    histogram,
    num_outside,
    ordinary_lengths,
    summarize_lengths,
)


def test_the_summary_is_that_of_the_lengths_written_out() -> None:
    summary = summarize_lengths({10: 5, 100: 4, 1000: 1})
    assert (summary.rows, summary.total, summary.mean) == (10, 1450, 145.0)
    assert (summary.shortest, summary.p50, summary.p90, summary.p99, summary.longest) == (10, 10, 100, 1000, 1000)


def test_bins_double_and_hold_their_upper_bound() -> None:
    assert histogram({16: 1, 17: 2, 32: 3, 65: 4, 40_000: 5}) == (
        Bin(16, 1),
        Bin(32, 5),
        Bin(64, 0),
        Bin(128, 4),
        *(Bin(2**i, 0) for i in range(8, 16)),
        Bin(None, 5),
    )


def test_nothing_has_no_bins_and_no_outliers() -> None:
    assert histogram({}) == ()
    assert summarize_lengths({}).rows == 0
    assert num_outside({}, ordinary_lengths({})) == 0


def test_a_length_beyond_three_sigma_of_the_logarithms_stands_out() -> None:
    counts = {90: 30, 100: 40, 110: 30, 5000: 1, 2: 1}
    bounds = ordinary_lengths(counts)
    assert num_outside(counts, bounds) == 2
    logs = [math.log(length) for length, number in counts.items() for _ in range(number)]
    mean = sum(logs) / len(logs)
    sigma = math.sqrt(sum((x - mean) ** 2 for x in logs) / len(logs))
    assert bounds.longest == math.floor(math.exp(mean + 3 * sigma))
    assert bounds.shortest == math.ceil(math.exp(mean - 3 * sigma))


def test_rows_that_are_nearly_equal_have_no_outlier_among_them() -> None:
    counts = {100: 10_000, 101: 1, 150: 1}
    assert num_outside(counts, ordinary_lengths(counts)) == 0
    counts[250] = 1
    assert num_outside(counts, ordinary_lengths(counts)) == 1


def test_no_row_above_the_cap_is_ordinary() -> None:
    counts = {LONGEST_TOKENS: 50, LONGEST_TOKENS + 1: 50}
    assert num_outside(counts, ordinary_lengths(counts)) == 0
    bounds = ordinary_lengths(counts, most=LONGEST_TOKENS)
    assert num_outside(counts, bounds) == 50
    assert "32,768" in bounds.rule


def test_empty_rows_are_counted_elsewhere() -> None:
    counts = {0: 40, 100: 60}
    assert num_outside(counts, ordinary_lengths(counts)) == 0


@pytest.mark.parametrize("length", [1, 7, 100, 32_768])
def test_rows_of_one_length_are_ordinary(length: int) -> None:
    assert num_outside({length: 100}, ordinary_lengths({length: 100}, most=LONGEST_TOKENS)) == 0
