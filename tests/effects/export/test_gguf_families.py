"""llama.cpp computes from a GGUF file of ours what torch computes from the model itself, family by family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop.effects.export.gguf import write_gguf
from backprop.effects.export.llama_server import LlamaCpp, loaded
from backprop.effects.export.quantizers import find_quantizer
from backprop.effects.probe.adapter import observe_adapter, observe_base
from backprop.effects.probe.gguf_tokenizer import observe_gguf_tokenizer
from backprop.plan.decision import Refused
from backprop.plan.export.gguf.plan import GgufPlan, Stored, plan_gguf
from backprop.plan.export.merge import MergePlan, plan_merge
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.export import Quantization
from tests.gguf_models import FAMILIES, VOCABULARY, make_family_model
from tests.tiny import CHATML

IDS = (1, 40, 41, 77, 2, 13, 200, 250, 90, 91, 92, 5, 6, 17, 1, 130, 131, 44)


def planned(directory: Path, quantization: Quantization, adapter: Path | None = None) -> tuple[GgufPlan, MergePlan]:
    base, tokenizer = observe_base(directory), observe_gguf_tokenizer(directory, chat_template=CHATML)
    facts = observe_adapter(adapter) if adapter else None
    assert not isinstance(base, Absent)
    assert not isinstance(tokenizer, Absent)
    assert not isinstance(facts, Absent)
    merge = plan_merge(base, facts)
    assert not isinstance(merge, Refused)
    stored = [Stored(entry.name, entry.shape) for entry in merge.entries]
    plan = plan_gguf(base.config, stored, tokenizer, name="tiny", is_tied=merge.is_tied, quantization=quantization)
    assert not isinstance(plan, Refused), plan
    return plan, merge


def write(directory: Path, target: Path, quantization: Quantization, adapter: Path | None = None) -> Path:
    plan, merge = planned(directory, quantization, adapter)
    write_gguf(plan, merge, target, quantizer=find_quantizer(None), num_threads=2)
    return target


def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values - values.mean()
    return found


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of logits, whose common offset means nothing."""
    x, y = centred(a), centred(b)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def torch_logits(directory: Path, ids: Sequence[int], adapter: Path | None = None) -> NDArray[np.float64]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        found: NDArray[np.float64] = model(torch.tensor([list(ids)])).logits[0, -1].double().numpy()
        return found


def llama_logits(server: LlamaCpp, ids: Sequence[int]) -> NDArray[np.float64]:
    found = server.log_probabilities(ids, num_tokens=VOCABULARY)
    assert len(found) == VOCABULARY
    return np.array([found[i] for i in range(VOCABULARY)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("xllamacpp")
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_computes_what_torch_computes(folder: Path, name: str) -> None:
    model = make_family_model(folder / name, name)
    with loaded(write(model, folder / f"{name}.gguf", Quantization.F16), context=256) as server:
        assert cosine(llama_logits(server, IDS), torch_logits(model, IDS)) >= 0.99999
