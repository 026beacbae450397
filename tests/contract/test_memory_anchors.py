"""The restated predictors say what their sources say."""

from __future__ import annotations

import importlib.util

import attrs
import pytest
from benchmarks.memory_accuracy import OURS, compare, summarize
from benchmarks.memory_anchors import ANCHORS, GB, available_anchors, zero3_bytes
from benchmarks.memory_points import Point, read_points

from backprop.plan.memory.training import MemoryMethod

SIMULATED = {point.name: point for point in read_points("simulated")}
MEASURED = {point.name: point for point in read_points("measured")}

VRAMCALC_GB = {
    "L1B full pure": 17.52,
    "L1B full pure ckpt": 13.95,
    "L1B full amp": 29.88,
    "L1B full amp ckpt": 26.30,
    "L1B eager full pure": 30.41,
    "L3B full pure ckpt": 32.13,
    "Q1.5B full pure": 23.17,
    "L1B lora pure": 10.17,
    "L1B lora amp": 15.11,
    "L1B lora amp ckpt": 9.22,
    "L3B lora pure": 18.84,
    "L8B lora pure ckpt": 20.97,
    "Q1.5B lora pure": 13.99,
}
"""Its README, "Validation"."""


def gigabytes(anchor: str, point: Point) -> float:
    num_bytes = ANCHORS[anchor](point)
    assert num_bytes is not None
    return num_bytes / GB


def test_vramcalc_is_asked_what_its_authors_asked_it() -> None:
    pytest.importorskip("vramcalc")
    found = {name: gigabytes("vramcalc", point) for name, point in MEASURED.items()}
    assert found == pytest.approx(VRAMCALC_GB, abs=0.006)


def test_vramcalc_is_not_asked_about_what_it_cannot_describe() -> None:
    # 4-bit weights, an 8-bit optimizer, other targets, a fused head
    for name in ("7B-qlora-r16-2k:hf", "3B-full-paged8-2k:hf", "L8B-lora-qv-r16-2k-b2:hf", "L1B-full-adamw-2k-b4:trl"):
        assert ANCHORS["vramcalc"](SIMULATED[name]) is None


def test_vramcalc_is_left_out_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert set(ANCHORS) - set(available_anchors()) == {"vramcalc"}


@pytest.mark.parametrize("name", ["Q1.5B full pure", "L1B full pure"])
def test_accelerate_is_restated_as_its_own_code_counts(name: str) -> None:
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModel

    point = MEASURED[name]
    with init_empty_weights():
        model = AutoModel.from_config(AutoConfig.for_model(**point.config))
    total, _ = calculate_maximum_sizes(model)
    largest = max(estimate_training_usage(total, "float16").values())
    assert ANCHORS["accelerate"](point) == pytest.approx(largest, rel=1e-6)


def test_an_untied_head_is_no_part_of_what_accelerate_counts() -> None:
    point = attrs.evolve(
        MEASURED["L1B full pure"], config={**MEASURED["L1B full pure"].config, "tie_word_embeddings": False}
    )
    assert ANCHORS["accelerate"](point) == ANCHORS["accelerate"](MEASURED["L1B full pure"])


def test_llama_factory_is_read_in_its_columns_between_them_and_below() -> None:
    assert gigabytes("LLaMA-Factory", SIMULATED["7B-qlora-r16-2k:trl"]) == 6
    assert gigabytes("LLaMA-Factory", SIMULATED["14B-qlora-r32-4k:trl"]) == 12
    assert gigabytes("LLaMA-Factory", SIMULATED["7B-lora-r16-2k:trl"]) == 16
    assert gigabytes("LLaMA-Factory", SIMULATED["24B-qlora-r16-2k:trl"]) == pytest.approx(12 + 12 * 10 / 16)
    assert gigabytes("LLaMA-Factory", SIMULATED["3B-full-paged8-2k:trl"]) == 3 * 8
    assert gigabytes("LLaMA-Factory", MEASURED["L1B full amp"]) == 18
    assert ANCHORS["LLaMA-Factory"](MEASURED["L1B lora amp"]) is None


def test_unsloth_says_nothing_of_small_models_and_full_fine_tuning() -> None:
    assert gigabytes("Unsloth", SIMULATED["32B-qlora-r16-2k:trl"]) == 26
    assert gigabytes("Unsloth", SIMULATED["7B-lora-r16-2k:trl"]) == 19
    assert ANCHORS["Unsloth"](SIMULATED["1.5B-dora-r16-2k:trl"]) is None
    assert ANCHORS["Unsloth"](SIMULATED["3B-full-paged8-2k:trl"]) is None


def test_deepspeed_is_restated_as_its_published_example() -> None:
    # docs of transformers, "DeepSpeed": T0_3B, 2783M parameters, 65M in the largest layer, without offload 46.91 GB.
    assert zero3_bytes(2783_000_000, largest_layer=65_000_000) / 2**30 == pytest.approx(46.91, abs=0.02)
    assert gigabytes("DeepSpeed ZeRO-2", MEASURED["L1B full pure"]) == pytest.approx(20 * 1.2358144)


@pytest.mark.parametrize("kind", ["simulated", "measured"])
def test_nobody_but_us_answers_everything_as_closely(kind: str) -> None:
    ours, *others = summarize(tuple(compare(kind))).items()
    name, summary = ours
    assert (name, summary.answered) == (OURS, summary.of)
    for _, other in others:
        assert summary.median_percent is not None
        assert other.median_percent is not None
        assert summary.median_percent < other.median_percent


def test_anchors_for_adapters_alone_and_for_all_weights_alone_answer_only_these() -> None:
    for point in (*SIMULATED.values(), *MEASURED.values()):
        is_full = point.training.method is MemoryMethod.FULL
        assert (ANCHORS["accelerate"](point) is not None) is is_full
        assert not (is_full and ANCHORS["Unsloth"](point))
