"""Predicted peak memory beside simulated and measured runs, with errors and the cost of a prediction.

The runs and where they come from stand in data/memory_points.json. Exits 1 when a bound of BOUNDS is broken.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.training import (
    AdapterDtype,
    LossHead,
    MemoryMethod,
    MemoryOptimizer,
    TrainingShape,
)

POINTS = Path(__file__).parent / "data" / "memory_points.json"
BOUNDS = {"simulated": (0.2, 1.0), "measured": (0.2, 1.0)}
"""Median and maximum of the error in percent."""


@attrs.frozen
class Comparison:
    """A run and its prediction."""

    name: str
    predicted: MemoryPlan
    peak_bytes: int
    seconds: float

    @property
    def error_percent(self) -> float:
        """Positive when too much is predicted."""
        return 100 * (self.predicted.peak_bytes / self.peak_bytes - 1)


def training_of(options: Mapping[str, Any]) -> TrainingShape:
    """The settings of a run, from the names that its data uses."""
    return TrainingShape(
        method=MemoryMethod(options["method"]),
        rank=options["rank"],
        targets=tuple(options["targets"].split(",")),
        adapter_dtype=AdapterDtype(options["adapter_dtype"]),
        sequence=options["seq"],
        batch=options["batch"],
        accumulation=options.get("grad_accum", 1),
        checkpoints=not options["no_ckpt"],
        attention=AttentionKernel(options["attn"]),
        loss=LossHead(options["loss"]),
        optimizer=MemoryOptimizer(options["optim"]),
        autocast=options["autocast"],
        fp32_weights=options.get("fp32_weights", False),
        double_quantization=not options.get("no_double_quant", False),
        kbit_prepared=options.get("kbit_prepare", False),
        pad_mask=options["pad_mask"],
        keep_outputs=options["keep_outputs"],
        keep_gradients=options.get("keep_gradients", False),
    )


def compare(kind: str) -> Iterator[Comparison]:
    """Every run of ``kind`` ("points" or "measured") with its prediction."""
    data = json.loads(POINTS.read_text(encoding="utf-8"))
    for point in data[kind]:
        model = MemoryShape.from_config(data["architectures"][point["architecture"]])
        training = training_of(point["options"])
        predicted = predict(model, training)
        start = time.perf_counter()
        predict(model, training)
        yield Comparison(point["name"], predicted, point["peak_bytes"], time.perf_counter() - start)


def main() -> int:
    """Print both tables; 1 when an error is out of bounds."""
    is_broken = False
    for title, kind in (("simulated", "points"), ("measured", "measured")):
        rows = list(compare(kind))
        print(f"{title:32s} {'predicted':>10s} {'run':>10s} {'error':>9s}  {'µs':>5s}  moment")
        for row in rows:
            print(
                f"{row.name:32s} {row.predicted.peak_bytes / 1e9:7.3f} GB {row.peak_bytes / 1e9:7.3f} GB "
                f"{row.error_percent:+8.4f}%  {row.seconds * 1e6:5.0f}  {row.predicted.moment}"
            )
        errors = [abs(row.error_percent) for row in rows]
        median, largest = statistics.median(errors), max(errors)
        print(f"{title}: median {median:.4f} %, max {largest:.4f} % of {len(rows)}\n")
        is_broken |= median > BOUNDS[title][0] or largest > BOUNDS[title][1]
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
