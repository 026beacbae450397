"""Who is the base and who the adapter in Ollama."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.decision import Refused
from backprop.plan.export.gguf_file import GgufFile, GgufTensor
from backprop.plan.export.modelfile import Modelfile
from backprop.plan.export.ollama_name import OllamaName
from backprop.plan.export.registration import Registration, Sources, completed, plan_registration

NAME = OllamaName("mine")
Q = "blk.0.attn_q.weight"


def gguf(path: str, tensors: dict[str, tuple[int, ...]], **metadata: Any) -> GgufFile:
    held = {name: GgufTensor(shape, 0, 0) for name, shape in tensors.items()}
    return GgufFile(path, {"general.architecture": "llama", **metadata}, (), {}, held)


MODEL = gguf("m.gguf", {Q: (8, 16)})
ADAPTER = gguf(
    "a.gguf",
    {f"{Q}.lora_a": (8, 2), f"{Q}.lora_b": (2, 16)},
    **{"general.type": "adapter", "adapter.type": "lora"},
)


@pytest.mark.parametrize(
    ("sources", "modelfile", "expected"),
    [
        (Sources(MODEL), Modelfile(), (MODEL, None, None)),
        (Sources(MODEL, MODEL), Modelfile("./m.gguf"), (MODEL, None, None)),
        (Sources(MODEL, None, ADAPTER), Modelfile(), (MODEL, None, ADAPTER)),
        (Sources(ADAPTER), Modelfile("base"), (None, OllamaName("base"), ADAPTER)),
        (Sources(ADAPTER, MODEL), Modelfile("./m.gguf"), (MODEL, None, ADAPTER)),
    ],
)
def test_a_model_brings_its_weights_and_an_adapter_names_its_base(
    sources: Sources, modelfile: Modelfile, expected: tuple[Any, ...]
) -> None:
    found = plan_registration(NAME, sources, modelfile)
    assert isinstance(found, Registration), found
    assert (found.model, found.from_model, found.adapter) == expected


@pytest.mark.parametrize(
    ("sources", "modelfile", "said"),
    [
        (Sources(ADAPTER), Modelfile(), "nothing says which model it is for"),
        (Sources(ADAPTER), Modelfile("a b"), "cannot be the name"),
        (Sources(MODEL), Modelfile("llama3.2"), "would not be used"),
        (Sources(MODEL, gguf("other.gguf", {})), Modelfile("./other.gguf"), "and PATH is m.gguf"),
        (Sources(ADAPTER, None, MODEL), Modelfile("base"), "and PATH is a.gguf"),
        (Sources(ADAPTER, gguf("n.gguf", {Q: (8, 8)})), Modelfile("./n.gguf"), "8 × 8 in the base"),
        (Sources(gguf("e.gguf", {})), Modelfile(), "holds no tensors"),
    ],
)
def test_what_cannot_be_meant_is_refused(sources: Sources, modelfile: Modelfile, said: str) -> None:
    found = plan_registration(NAME, sources, modelfile)
    assert isinstance(found, Refused)
    assert said in found.problems[0].message


def test_a_modelfile_is_completed_by_the_training_but_for_what_it_says() -> None:
    derived = Modelfile(template="T", system="S", parameters=(("stop", ("<end>",)),))
    assert completed(Modelfile(), derived) == derived
    own = Modelfile(system="", parameters=(("stop", ("x",)), ("num_ctx", 8)))
    found = completed(own, derived)
    assert (found.template, found.system, found.parameters) == ("T", "", own.parameters)
    assert completed(Modelfile(template="mine"), derived) == Modelfile(template="mine")
