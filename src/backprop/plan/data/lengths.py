"""What the lengths of many rows come to: quantiles, a histogram, and which of them stand out.

Lengths are counted, not kept: the memory is that of the distinct ones, and the order of the rows is of no account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from backprop.plan.data.counts import quantile

SIGMAS = 3.0
"""Standard deviations of the logarithms beyond which a length stands out."""
LEAST_FACTOR = 2.0
"""Where all rows are nearly equally long, a length also has to differ from their geometric mean by this factor."""
LONGEST_TOKENS = 32_768
"""No row of more tokens is taken for an ordinary one, whatever the others are."""
_FIRST_BIN, _LAST_BIN = 16, LONGEST_TOKENS


@attrs.frozen
class Bin:
    """Rows whose length is above the former bin's bound and at most this one's."""

    up_to: int | None
    """None for the last one, which has no bound."""
    rows: int


@attrs.frozen
class LengthBounds:
    """Which lengths are ordinary, both ends included; 0 and None where there is no bound."""

    shortest: int
    longest: int | None
    rule: str
    """How the bounds came about."""

    def holds(self, length: int) -> bool:
        """Whether the length is an ordinary one."""
        return self.shortest <= length and (self.longest is None or length <= self.longest)


@attrs.frozen
class LengthSummary:
    """The lengths of all rows."""

    rows: int
    total: int
    mean: float
    shortest: int
    p50: int
    p90: int
    p99: int
    longest: int
    histogram: tuple[Bin, ...]


def summarize_lengths(counts: Mapping[int, int]) -> LengthSummary:
    """The summary of (length, rows); all zero for no rows."""
    rows = sum(counts.values())
    total = sum(length * number for length, number in counts.items())
    return LengthSummary(
        rows=rows,
        total=total,
        mean=total / rows if rows else 0.0,
        shortest=min(counts, default=0),
        p50=quantile(counts, 0.50),
        p90=quantile(counts, 0.90),
        p99=quantile(counts, 0.99),
        longest=max(counts, default=0),
        histogram=histogram(counts),
    )


def histogram(counts: Mapping[int, int]) -> tuple[Bin, ...]:
    """Rows by length in bins that double, from the first to the last that has any; they add up to all rows."""
    bounds: list[int | None] = []
    bound = _FIRST_BIN
    while bound <= _LAST_BIN:
        bounds.append(bound)
        bound *= 2
    bounds.append(None)
    rows = dict.fromkeys(bounds, 0)
    for length, number in counts.items():
        rows[next(b for b in bounds if b is None or length <= b)] += number
    filled = [i for i, bound in enumerate(bounds) if rows[bound]]
    if not filled:
        return ()
    return tuple(Bin(bound, rows[bound]) for bound in bounds[filled[0] : filled[-1] + 1])


def ordinary_lengths(counts: Mapping[int, int], *, most: int | None = None) -> LengthBounds:
    """The lengths within three standard deviations of the mean of their logarithms; none above ``most``.

    Row lengths are roughly log-normal. Empty rows are counted elsewhere and take no part.
    """
    told = {length: number for length, number in counts.items() if length > 0}
    rows = sum(told.values())
    if not rows:
        return LengthBounds(0, most, "no rows")
    mean = math.fsum(math.log(length) * number for length, number in told.items()) / rows
    variance = math.fsum((math.log(length) - mean) ** 2 * number for length, number in told.items()) / rows
    reach = max(SIGMAS * math.sqrt(variance), math.log(LEAST_FACTOR))
    rule = f"{SIGMAS:g} sigma of the logarithms, and a factor of at least {LEAST_FACTOR:g} from their mean"
    # The bounds are whole, so that they can be told and compared; a rounding error of the sums must not move one.
    shortest = math.ceil(math.exp(mean - reach) * (1 - 1e-9))
    longest = math.floor(math.exp(mean + reach) * (1 + 1e-9))
    if most is not None and most < longest:
        return LengthBounds(shortest, most, f"{rule}; at most {most:,} tokens")
    return LengthBounds(shortest, longest, rule)


def num_outside(counts: Mapping[int, int], bounds: LengthBounds) -> int:
    """Rows whose length is not an ordinary one, empty rows aside."""
    return sum(number for length, number in counts.items() if length > 0 and not bounds.holds(length))
