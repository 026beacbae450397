"""What a GGUF file holds is told from what it should hold, by its header and by rows of its values."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from backprop.effects.export.gguf_read_back import check_header, check_values
from backprop.effects.export.quantizers import find_quantizer
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf.metadata import whole
from backprop.plan.export.gguf.names import Change
from backprop.plan.settings.verbs.export import Quantization
from tests.effects.export.peft_models import make_adapter
from tests.effects.export.test_gguf_families import planned, write
from tests.gguf_models import make_family_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family_model(tmp_path_factory.mktemp("gguf") / "model", "llama")


@pytest.mark.parametrize("name", ["llama3", "gemma2", "phi3-long", "olmo2-tied", "llama-biases"])
@pytest.mark.parametrize("quantization", Quantization)
def test_a_right_file_passes(tmp_path: Path, name: str, quantization: Quantization) -> None:
    if quantization not in (Quantization.F16, Quantization.Q8_0) and not find_quantizer(None).has_k_quants:
        pytest.skip("ggml's routine is not installed")
    directory = make_family_model(tmp_path / "model", name)
    plan, merge = planned(directory, quantization)
    file = write(directory, tmp_path / "m.gguf", quantization)
    assert f"{len(plan.tensors)} tensors" in check_header(plan, file).result
    made_of_weights = sum(tensor.source is not None for tensor in plan.tensors)
    assert check_values(plan, merge, file).result.startswith(f"{3 * made_of_weights} rows")


def test_rows_in_other_places_are_found(tmp_path: Path, model: Path) -> None:
    plan, merge = planned(model, Quantization.Q8_0)
    file = write(model, tmp_path / "m.gguf", Quantization.Q8_0)
    other = attrs.evolve(plan, tensors=tuple(attrs.evolve(t, change=Change.NONE) for t in plan.tensors))
    with pytest.raises(BackpropError, match=r"other values in blk\.0\.attn_[qk]\.weight"):
        check_values(other, merge, file)


def test_an_adapter_that_is_not_in_the_file_is_found(tmp_path: Path, model: Path) -> None:
    adapter = make_adapter(model, tmp_path / "adapter", target_modules=["up_proj"])
    plan, merge = planned(model, Quantization.F16, adapter)
    check_values(plan, merge, write(model, tmp_path / "with.gguf", Quantization.F16, adapter))
    with pytest.raises(BackpropError, match="ffn_up"):
        check_values(plan, merge, write(model, tmp_path / "without.gguf", Quantization.F16))


def test_a_header_that_was_not_planned_is_found(tmp_path: Path, model: Path) -> None:
    plan, _ = planned(model, Quantization.Q8_0)
    file = write(model, tmp_path / "m.gguf", Quantization.Q8_0)
    changed = [
        (attrs.evolve(plan, metadata=(*plan.metadata, whole("llama.expert_count", 2))), "llama.expert_count"),
        (attrs.evolve(plan, metadata=(whole("llama.block_count", 3),)), "llama.block_count"),
        (attrs.evolve(plan, tensors=plan.tensors[:-1]), plan.tensors[-1].name),
    ]
    for other, named in changed:
        with pytest.raises(BackpropError, match=named):
            check_header(other, file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BackpropError, match="cannot be read back: it is cut off"):
        check_header(plan, file)
