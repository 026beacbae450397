"""ggml's routine and the gguf package make the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backprop.effects.export import quantizers
from backprop.effects.export.quantizers import find_quantizer
from backprop.plan.export.gguf.ggml import GgmlType


def values(rows: int = 64, length: int = 512) -> quantizers.Array:
    """With rows of zeros, of equal numbers, of very small and of large ones."""
    made = np.random.default_rng(0).normal(size=(rows, length)).astype(np.float32)
    made[1], made[2] = 0, 0.5
    made[3] *= 1e-30
    made[4] *= 1e4
    made[5, ::2] = -made[5, 1::2]
    return made


@pytest.mark.parametrize("type", [GgmlType.F16, GgmlType.Q8_0, GgmlType.Q4_0, GgmlType.Q5_0, GgmlType.Q5_1])
def test_types_without_super_blocks_are_byte_identical(type: GgmlType, monkeypatch: pytest.MonkeyPatch) -> None:
    ggml = find_quantizer(None)
    if not ggml.has_k_quants:
        pytest.skip("ggml's routine is not installed")
    monkeypatch.setattr(quantizers, "_candidates", lambda _: iter(()))
    alone = find_quantizer(None)
    assert not alone.has_k_quants
    assert np.array_equal(ggml.quantize(values(), type), alone.quantize(values(), type))


@pytest.mark.parametrize("type", [t for t in GgmlType if t.is_k_quant])
def test_k_quants_are_near_what_they_stand_for(type: GgmlType) -> None:
    gguf = pytest.importorskip("gguf")
    ggml = find_quantizer(None)
    if not ggml.has_k_quants:
        pytest.skip("ggml's routine is not installed")
    original = values()[6:]
    back = gguf.quants.dequantize(ggml.quantize(original, type), gguf.GGMLQuantizationType(type.number))
    errors = {GgmlType.Q6_K: 0.02, GgmlType.Q5_K: 0.04, GgmlType.Q4_K: 0.08, GgmlType.Q3_K: 0.2, GgmlType.Q2_K: 0.35}
    assert np.linalg.norm(back - original) / np.linalg.norm(original) < errors[type]


def test_a_build_in_the_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ggml = find_quantizer(None)
    if not ggml.has_k_quants:
        pytest.skip("ggml's routine is not installed")
    library = Path(ggml.name.removeprefix("ggml (").removesuffix(")"))
    built = tmp_path / "llama.cpp" / "build" / "bin"
    built.mkdir(parents=True)
    (built / "libggml-base.so").symlink_to(library)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(quantizers, "_package_folders", lambda _: ())
    assert str(tmp_path) in find_quantizer("~/llama.cpp").name
