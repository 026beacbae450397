"""The runs that predictions are compared with: simulated and measured ones, read from data/memory_points.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.training import AdapterDtype, LossHead, MemoryMethod, MemoryOptimizer, TrainingShape

POINTS = Path(__file__).parent / "data" / "memory_points.json"
KINDS = {"simulated": "points", "measured": "measured"}
"""Keys of the file by what the runs in it are."""


@attrs.frozen
class Point:
    """A run whose peak is known."""

    name: str
    architecture: str
    """The model's name in small letters, such as ``qwen2.5-7b``."""
    config: Mapping[str, Any]
    """Its ``config.json``."""
    training: TrainingShape
    peak_bytes: int
    """What torch's allocator had handed out at most, paged optimizer state included."""

    @property
    def model(self) -> ModelFacts:
        """What the configuration declares."""
        return facts_from_config(self.config, name=self.architecture, source=ModelSource.TABLE)

    @property
    def nominal_billions(self) -> float:
        """The size that the model's name gives, as tables by size mean it; where it gives none, its parameters."""
        size = re.search(r"(\d+(?:\.\d+)?)b\b", self.architecture)
        return float(size[1]) if size else self.model.num_parameters / 1e9


def read_points(kind: str) -> tuple[Point, ...]:
    """The runs of ``kind``, a key of ``KINDS``."""
    data = json.loads(POINTS.read_text(encoding="utf-8"))
    return tuple(
        Point(
            name=point["name"],
            architecture=point["architecture"],
            config=data["architectures"][point["architecture"]],
            training=training_of(point["options"]),
            peak_bytes=point["peak_bytes"],
        )
        for point in data[KINDS[kind]]
    )


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
