"""Which tensor of the base gets which update, and what of an adapter does not fit."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from backprop.plan.decision import Problem, Refused
from backprop.plan.export.merge import HEAD, LowRank, MergeEntry, MergePlan, plan_merge
from backprop.plan.export.sources import AdapterFacts, BaseFacts, TensorFacts, adapter_facts

EMBED, Q = "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"
Q_MODULE = Q.removesuffix(".weight")
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "owner/base"}


def tensor(name: str, *shape: int, dtype: str = "bfloat16", file: str = "model.safetensors") -> TensorFacts:
    return TensorFacts(name, dtype, shape, f"/base/{file}", 0, math.prod(shape) * (2 if dtype == "bfloat16" else 4))


def base(*, tied: bool = True, **config: Any) -> BaseFacts:
    stored = (tensor(EMBED, 10, 6), tensor(Q, 8, 6), *(() if tied else (tensor(HEAD, 10, 6),)))
    return BaseFacts("owner/base", "/base", {"model_type": "llama", "tie_word_embeddings": tied, **config}, stored)


def adapter(*tensors: TensorFacts, **config: Any) -> AdapterFacts:
    return adapter_facts("/adapter", {**CONFIG, **config}, tensors)


def low_rank(module: str, rank: int = 4, out: int = 8, into: int = 6) -> tuple[TensorFacts, TensorFacts]:
    name = f"base_model.model.{module}"
    return (
        tensor(f"{name}.lora_A.weight", rank, into, dtype="float32"),
        tensor(f"{name}.lora_B.weight", out, rank, dtype="float32"),
    )


def embedding(rank: int = 4) -> tuple[TensorFacts, TensorFacts]:
    name = "base_model.model.model.embed_tokens"
    return (
        tensor(f"{name}.lora_embedding_A", rank, 10, dtype="float32"),
        tensor(f"{name}.lora_embedding_B", 6, rank, dtype="float32"),
    )


def planned(base: BaseFacts, adapter: AdapterFacts | None) -> MergePlan:
    plan = plan_merge(base, adapter)
    assert isinstance(plan, MergePlan), plan
    return plan


def refusal(base: BaseFacts, adapter: AdapterFacts) -> Problem:
    plan = plan_merge(base, adapter)
    assert isinstance(plan, Refused), plan
    return plan.problems[0]


def by_name(plan: MergePlan) -> dict[str, MergeEntry]:
    return {entry.name: entry for entry in plan.entries}


def test_a_module_without_an_adapter_is_copied() -> None:
    plan = planned(base(), adapter(*low_rank(Q_MODULE)))
    a, b = low_rank(Q_MODULE)
    entries = by_name(plan)
    assert entries[EMBED].is_copy
    assert entries[Q].update == LowRank(a, b, scale=2.0)
    assert (entries[Q].dtype, entries[Q].num_bytes, entries[Q].file) == ("bfloat16", 96, "model.safetensors")
    assert plan.is_tied


def test_a_whole_model_is_copied() -> None:
    assert all(entry.is_copy for entry in planned(base(), None).entries)


@pytest.mark.parametrize(
    ("config", "rank", "scale"),
    [
        ({}, 4, 2.0),
        ({"use_rslora": True}, 4, 4.0),
        ({"rank_pattern": {"q_proj": 2}}, 2, 4.0),
        ({"alpha_pattern": {r"layers\.0\.self_attn\.q_proj": 1}}, 4, 0.25),
        ({"alpha_pattern": {"k_proj": 1, "proj": 1}}, 4, 2.0),
        ({"rank_pattern": {"q_proj": 16}, "alpha_pattern": {"q_proj": 4}, "use_rslora": True}, 16, 1.0),
    ],
)
def test_the_scale_follows_rank_and_alpha_of_the_module(config: dict[str, Any], rank: int, scale: float) -> None:
    update = by_name(planned(base(), adapter(*low_rank(Q_MODULE, rank), **config)))[Q].update
    assert update is not None
    assert update.scale == pytest.approx(scale)


def test_a_changed_embedding_parts_from_its_head_which_stays_as_it_was() -> None:
    plan = planned(base(), adapter(*embedding()))
    entries = by_name(plan)
    assert plan.is_untied
    assert [entry.name for entry in plan.entries] == [EMBED, HEAD, Q]
    assert entries[HEAD].is_copy
    assert entries[HEAD].source.name == EMBED
    update = entries[EMBED].update
    assert update is not None
    assert update.is_transposed


@pytest.mark.parametrize("family", ["cohere", "starcoder2", "opt", "gemma3_text"])
def test_a_head_that_is_tied_by_the_family_alone_parts_from_a_changed_embedding(family: str) -> None:
    plan = planned(attrs.evolve(base(), config={"model_type": family}), adapter(*embedding()))
    assert plan.is_untied
    assert by_name(plan)[HEAD].is_copy


def test_an_embedding_of_another_name_is_found() -> None:
    name = "transformer.word_embeddings"
    stored = tensor(f"{name}.weight", 10, 6)
    plan = planned(
        attrs.evolve(base(), tensors=(stored,)),
        adapter(*(attrs.evolve(t, name=t.name.replace("model.embed_tokens", name)) for t in embedding())),
    )
    assert [entry.name for entry in plan.entries] == [stored.name, HEAD]


def test_a_changed_head_parts_from_its_embedding() -> None:
    whole = tensor("base_model.model.lm_head.weight", 10, 6, dtype="float32")
    entries = by_name(planned(base(), adapter(whole)))
    assert entries[EMBED].is_copy
    assert (entries[HEAD].source, entries[HEAD].dtype, entries[HEAD].num_bytes) == (whole, "bfloat16", 120)
    lora = by_name(planned(base(), adapter(*low_rank("lm_head", out=10))))
    assert lora[HEAD].source.name == EMBED
    assert lora[HEAD].update is not None


def test_with_weight_tying_the_head_follows_the_embedding() -> None:
    plan = planned(base(), adapter(*embedding(), ensure_weight_tying=True))
    assert plan.is_tied
    assert HEAD not in by_name(plan)


def test_a_head_that_is_a_tensor_of_its_own_is_just_a_tensor() -> None:
    plan = planned(base(tied=False), adapter(*embedding()))
    assert not plan.is_untied
    assert by_name(plan)[HEAD].source.name == HEAD


def test_a_checkpoint_of_the_bare_model_is_found_by_the_names_it_has() -> None:
    bare = attrs.evolve(base(), tensors=(tensor("layers.0.self_attn.q_proj.weight", 8, 6),))
    assert planned(bare, adapter(*low_rank(Q_MODULE))).entries[0].update is not None


def test_an_adapter_of_another_base_is_refused_with_both_values() -> None:
    problem = refusal(base(), adapter(*low_rank(Q_MODULE, out=16), base_model_name_or_path="owner/other"))
    assert problem.code == "INPUT_ADAPTER_MISMATCH"
    assert all(part in problem.message for part in ("16 × 6", "8 × 6", "owner/other", "owner/base", Q_MODULE))


def test_of_many_matrices_that_do_not_fit_the_first_few_are_told() -> None:
    modules = [f"model.layers.{i}.self_attn.q_proj" for i in range(60)]
    stored = tuple(tensor(f"{module}.weight", 8, 6) for module in modules)
    many = attrs.evolve(base(), tensors=(tensor(EMBED, 10, 6), *stored))
    refused = plan_merge(many, adapter(*(t for module in modules for t in low_rank(module, into=12))))
    assert isinstance(refused, Refused)
    assert [problem.code for problem in refused.problems] == ["INPUT_ADAPTER_MISMATCH"] * 3
    assert refused.problems[-1].message.endswith("and so on, 57 more.")


def test_modules_that_the_base_lacks_are_named() -> None:
    tensors = [t for i in range(1, 6) for t in low_rank(f"model.layers.{i}.self_attn.q_proj")]
    problem = refusal(base(), adapter(*tensors))
    assert problem.code == "INPUT_ADAPTER_MISMATCH"
    assert "model.layers.1.self_attn.q_proj" in problem.message
    assert "2 more" in problem.message


@pytest.mark.parametrize(
    ("tensors", "config", "told"),
    [
        (low_rank(Q_MODULE)[:1], {}, "only lora_A of"),
        (low_rank(Q_MODULE), {"use_dora": True}, "with DoRA"),
        (low_rank(Q_MODULE, rank=2), {}, "says rank 4"),
        ((*low_rank(Q_MODULE), tensor(f"base_model.model.{Q_MODULE}.lora_magnitude_vector", 8)), {}, "without DoRA"),
        (
            (*low_rank(Q_MODULE), tensor(f"base_model.model.{Q_MODULE}.lora_magnitude_vector", 7)),
            {"use_dora": True},
            "7 magnitudes for the 8 rows",
        ),
    ],
)
def test_an_inconsistent_adapter_is_refused(
    tensors: tuple[TensorFacts, ...], config: dict[str, Any], told: str
) -> None:
    problem = refusal(base(), adapter(*tensors, **config))
    assert problem.code == "INPUT_ADAPTER_INVALID"
    assert told in problem.message


def test_a_quantized_base_is_refused() -> None:
    problem = refusal(base(quantization_config={"load_in_4bit": True}), adapter(*low_rank(Q_MODULE)))
    assert problem.code == "INPUT_MODEL_INVALID"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"lora_bias": True}, "bias"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"r": 0}, '"r"'),
        ({"lora_alpha": None}, '"lora_alpha"'),
        ({"lora_alpha": math.nan}, '"lora_alpha"'),
        ({"rank_pattern": {"(": 3}}, "no pattern"),
        ({"rank_pattern": {"q_proj": 0}}, '"rank_pattern"'),
        ({"rank_pattern": {"q_proj": 4.5}}, '"rank_pattern"'),
        ({"kasa_config": {"beta": 1e-4}}, "KaSA"),
        ({"rank_pattern": [3]}, '"rank_pattern"'),
    ],
)
def test_a_configuration_that_cannot_be_merged_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        adapter(**config)
