"""Predicted peak memory beside simulated and measured runs, and what other predictors say of the same runs.

The runs and where they come from stand in data/memory_points.json, the other predictors in memory_anchors.py.
``--json`` prints the numbers. Exits 1 when a bound of BOUNDS is broken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from benchmarks.memory_anchors import available_anchors
from benchmarks.memory_points import KINDS, Point, read_points

BOUNDS = {"simulated": (0.2, 1.0), "measured": (0.2, 1.0)}
"""Median and maximum of the error in percent."""
OURS = "backprop"


@attrs.frozen
class Comparison:
    """A run, its prediction, and what the others predict."""

    name: str
    predicted: MemoryPlan
    peak_bytes: int
    anchors: Mapping[str, int | None]
    """Bytes by predictor; None where it cannot describe the run."""

    @property
    def error_percent(self) -> float:
        """Positive when too much is predicted."""
        return self._error_percent(self.predicted.peak_bytes)

    @property
    def errors_percent(self) -> dict[str, float | None]:
        """By predictor, this one first."""
        others = {
            name: None if num_bytes is None else self._error_percent(num_bytes)
            for name, num_bytes in self.anchors.items()
        }
        return {OURS: self.error_percent, **others}

    def _error_percent(self, num_bytes: int) -> float:
        return 100 * (num_bytes / self.peak_bytes - 1)


@attrs.frozen
class Summary:
    """How far a predictor is off, over the runs that it answers."""

    answered: int
    of: int
    median_percent: float | None
    """Of the absolute errors; None where nothing is answered."""
    max_percent: float | None


def compare(kind: str) -> Iterator[Comparison]:
    """Every run of ``kind``, "simulated" or "measured", with its predictions."""
    anchors = available_anchors()
    for point in read_points(kind):
        yield Comparison(
            name=point.name,
            predicted=_predict(point),
            peak_bytes=point.peak_bytes,
            anchors={name: anchor(point) for name, anchor in anchors.items()},
        )


def _predict(point: Point) -> MemoryPlan:
    return predict(MemoryShape.of(point.model), point.training)


def summarize(rows: tuple[Comparison, ...]) -> dict[str, Summary]:
    """One summary a predictor, this one first."""
    summaries = {}
    for name in rows[0].errors_percent:
        errors = [abs(error) for row in rows if (error := row.errors_percent[name]) is not None]
        median, largest = (statistics.median(errors), max(errors)) if errors else (None, None)
        summaries[name] = Summary(len(errors), len(rows), median, largest)
    return summaries


def show(title: str, rows: tuple[Comparison, ...]) -> None:
    """Print the errors run by run, then by predictor."""
    names = list(rows[0].errors_percent)
    print(f"{title + ', error in %':32s} {'run':>10s} " + " ".join(f"{name:>16s}" for name in names) + "  moment")
    for row in rows:
        ours, *others = row.errors_percent.values()
        cells = [f"{ours:+16.4f}", *("–".rjust(16) if error is None else f"{error:+16.1f}" for error in others)]
        print(f"{row.name:32s} {row.peak_bytes / 1e9:7.3f} GB {' '.join(cells)}  {row.predicted.moment}")
    print()
    for name, summary in summarize(rows).items():
        figures = ""
        if summary.median_percent is not None:
            figures = f"median {summary.median_percent:9.4f} %   max {summary.max_percent:9.4f} %"
        print(f"{title}: {name:18s} {summary.answered:2d} of {summary.of} answered   {figures}".rstrip())
    print()


def as_data(rows: tuple[Comparison, ...]) -> dict[str, Any]:
    """What ``--json`` prints of one kind."""
    runs = [
        {
            "name": row.name,
            "peak_bytes": row.peak_bytes,
            "moment": row.predicted.moment,
            "predicted_bytes": {OURS: row.predicted.peak_bytes, **row.anchors},
            "error_percent": row.errors_percent,
        }
        for row in rows
    ]
    return {"predictors": {name: attrs.asdict(one) for name, one in summarize(rows).items()}, "runs": runs}


def main() -> int:
    """Print both tables; 1 when an error is out of bounds."""
    parser = argparse.ArgumentParser(description="Predicted peak memory beside known runs and other predictors.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    as_json = parser.parse_args().json
    kinds = {kind: tuple(compare(kind)) for kind in KINDS}
    if as_json:
        print(json.dumps({kind: as_data(rows) for kind, rows in kinds.items()}, indent=2))
    else:
        for kind, rows in kinds.items():
            show(kind, rows)
        if "vramcalc" not in available_anchors():
            print("vramcalc is left out; pip install vramcalc==0.1.2 puts it into the tables.")
    return int(any(_is_broken(kind, rows) for kind, rows in kinds.items()))


def _is_broken(kind: str, rows: tuple[Comparison, ...]) -> bool:
    ours = summarize(rows)[OURS]
    assert ours.median_percent is not None
    assert ours.max_percent is not None
    median, largest = BOUNDS[kind]
    return ours.median_percent > median or ours.max_percent > largest


if __name__ == "__main__":
    sys.exit(main())
