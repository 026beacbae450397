"""GGUF headers: read as the format's own package writes them, whole or not at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from backprop.effects.probe.gguf_file import is_gguf, observe_gguf
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf_file import check_adapter, check_adapter_fits, check_model
from tests.gguf_files import OUT, TARGET, WIDTH, write_adapter, write_model
from tests.tiny import CHATML


def test_a_header_is_read(tmp_path: Path) -> None:
    found = observe_gguf(write_model(tmp_path / "m.gguf"))
    assert found.architecture == "llama"
    assert not found.is_adapter
    assert found.chat_template == CHATML
    assert (found.bos, found.eos, found.adds_bos) == ("<|endoftext|>", "<|im_end|>", False)
    assert found.special_tokens == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    assert found.tensors[TARGET].shape == (WIDTH, OUT)


def test_a_file_cut_anywhere_is_refused_and_never_crashes(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(0, len(whole), 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(BackpropError) as caught:
            observe_gguf(cut)
        assert caught.value.problems[0].code == "INPUT_VALIDATION_FAILED"


def test_a_header_with_absurd_numbers_is_refused_at_once(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf").read_bytes()
    damaged = tmp_path / "damaged.gguf"
    for at in range(4, 200):
        damaged.write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8 :])
        with contextlib.suppress(BackpropError):  # and nothing else
            observe_gguf(damaged)


def test_what_is_no_gguf_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"PK\x03\x04 and more")
    assert not is_gguf(path)
    with pytest.raises(BackpropError, match="not a GGUF file"):
        observe_gguf(path)
    with pytest.raises(BackpropError, match="No such file"):
        observe_gguf(tmp_path / "missing.gguf")


def test_an_adapter_fits_the_base_that_it_was_trained_on(tmp_path: Path) -> None:
    adapter, base = observe_gguf(write_adapter(tmp_path / "a.gguf")), observe_gguf(write_model(tmp_path / "m.gguf"))
    assert check_adapter(adapter) == check_model(base) == check_adapter_fits(adapter, base) == ()


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"architecture": "qwen2"}, "one of a qwen2 model"),
        ({"target": "blk.7.attn_q.weight"}, "the base has no blk.7.attn_q.weight"),
        ({"shape": (OUT, 12)}, "8 × 16 in the base and 12 × 16 in the adapter"),
        ({"shape": (24, WIDTH)}, "8 × 16 in the base and 8 × 24 in the adapter"),
    ],
)
def test_an_adapter_of_another_base_is_refused(tmp_path: Path, adapter: dict[str, object], said: str) -> None:
    of_another = observe_gguf(write_adapter(tmp_path / "a.gguf", **adapter))  # type: ignore[arg-type]
    (problem,) = check_adapter_fits(of_another, observe_gguf(write_model(tmp_path / "m.gguf")))
    assert said in problem.message


def test_model_and_adapter_are_not_taken_for_each_other(tmp_path: Path) -> None:
    adapter, base = observe_gguf(write_adapter(tmp_path / "a.gguf")), observe_gguf(write_model(tmp_path / "m.gguf"))
    assert "an adapter, not a model" in check_model(adapter)[0].message
    assert "a model, not an adapter" in check_adapter_fits(base, adapter)[0].message
