"""The base model, and a fresh adapter on it, as the plan has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from backprop.effects.train.delta_adapter import first_factors
from backprop.effects.train.first_weights import (
    FirstWeights,
    compute_first_weights,
    read_first_weights,
    set_first_weights,
)
from backprop.effects.train.float8 import hold_in_float8
from backprop.effects.train.translation import translated
from backprop.plan.facts.model import ModelFacts
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.arguments import Loadable, load_arguments, lora_arguments, quantization_arguments
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import Rail


def load_base(plan: Loadable, model_dir: str, *, in_host_memory: bool = False) -> transformers.PreTrainedModel:
    """The base weights in the planned format. Raises ``BackpropError`` DEP_MODEL_LOAD_FAILED."""
    arguments = load_arguments(plan, in_host_memory=in_host_memory)
    arguments["dtype"] = getattr(torch, arguments["dtype"])
    quantization = quantization_arguments(plan)
    if quantization is not None:
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(**quantization)
    with translated("DEP_MODEL_LOAD_FAILED", f"The model {plan.model.name} cannot be loaded", where=model_dir):
        model: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_pretrained(model_dir, **arguments)
    _forbid_repacking(model)
    model.config.use_cache = False
    return model


def load_whole(plan: TrainPlan, model_dir: str) -> transformers.PreTrainedModel:
    """The weights of a model directory or a checkpoint, all of them to be trained; offloaded ones in host memory."""
    model = load_base(plan, model_dir, in_host_memory=plan.offload is not None)
    model.requires_grad_(True)
    # transformers refuses to save weights beside a generation configuration that contradicts itself, as some
    # repositories' do; theirs is handed over unchanged when the run ends.
    model.generation_config = transformers.GenerationConfig()
    return model


def load_tokenizer(model_dir: str, *, trust_remote_code: bool) -> Any:
    """The tokenizer, for what TRL wants to know of it; rows come tokenized."""
    with translated("DEP_MODEL_LOAD_FAILED", "The tokenizer cannot be loaded", where=model_dir):
        return transformers.AutoTokenizer.from_pretrained(model_dir, trust_remote_code=trust_remote_code)


def add_adapter(adapter: AdapterPlan, model: transformers.PreTrainedModel, *, base: ModelFacts) -> PeftModel:
    """The base wrapped in a fresh adapter whose initial weights depend on nothing but the plan's seed."""
    transformers.set_seed(adapter.seed)
    config = LoraConfig(**lora_arguments(adapter), base_model_name_or_path=base.name, revision=base.commit)
    wrapped: PeftModel = get_peft_model(model, config)
    # get_peft_model writes the directory that the weights were loaded from.
    wrapped.peft_config["default"].base_model_name_or_path = base.name
    return wrapped


def load_adapted(plan: TrainPlan, model_dir: str, *, checkpoint: Path | None) -> tuple[PeftModel, FirstWeights | None]:
    """The base with its adapter as the run begins, or as the run of ``checkpoint`` began.

    The first weights are None where they are random. The trainer loads what ``checkpoint`` has trained since.
    """
    adapter, float8 = plan.adapter, plan.precision.float8
    assert adapter is not None
    device = torch.device("cuda", 0) if plan.rail.value is Rail.CUDA else torch.device("cpu")
    # Weights that become float8 are whole until then, more than the card is planned to hold.
    base = load_base(plan, model_dir, in_host_memory=float8 is not None)
    model = add_adapter(adapter, base, base=plan.model)
    first = _first_weights(adapter, model, model_dir, checkpoint, device)
    if float8 is not None:
        hold_in_float8(model, float8.layers.value, device=device)
    return model, first


def _first_weights(
    adapter: AdapterPlan, model: PeftModel, model_dir: str, checkpoint: Path | None, device: torch.device
) -> FirstWeights | None:
    if adapter.initial is None:
        return None
    if checkpoint is None:
        first = compute_first_weights(adapter, model, model_dir, device=device)
    else:
        first = read_first_weights(adapter, checkpoint, first_factors(checkpoint, adapter.rank.value))
    set_first_weights(adapter, model, model_dir, first, device=device)
    return first


def _forbid_repacking(model: torch.nn.Module) -> None:
    # On AVX512-BF16 processors bitsandbytes repacks 4-bit weights in place at the first evaluation; training and
    # merging after that compute with garbage.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - only some layers have it
