"""Unsloth loads and patches the model, where the plan says so; when it cannot, transformers and PEFT do, as always."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from peft import PeftModel

from backprop.effects.train.reporting import Emit
from backprop.plan.events import Warned
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.arguments import unsloth_adapter_arguments, unsloth_arguments
from backprop.plan.training.plan import TrainPlan


def wanted(plan: TrainPlan) -> bool:
    """Whether the plan has Unsloth load the model."""
    return plan.unsloth is not None and plan.unsloth.value


def load_with_unsloth(plan: TrainPlan, adapter: AdapterPlan, model_dir: str, *, emit: Emit) -> PeftModel | None:
    """The model with a fresh adapter; None after a warning when Unsloth fails, whatever it raises.

    Here alone is it imported, which patches the libraries around it.
    """
    try:
        loader = import_module("unsloth").FastLanguageModel
        arguments: dict[str, Any] = unsloth_arguments(plan)
        arguments["dtype"] = getattr(torch, arguments["dtype"])
        model, _ = loader.from_pretrained(model_name=model_dir, **arguments)
        wrapped: PeftModel = loader.get_peft_model(model, **unsloth_adapter_arguments(plan, adapter))
    except Exception as wrong:
        reason = (str(wrong).strip() or type(wrong).__name__).splitlines()[0]
        message = f"Unsloth cannot load the model, and transformers does: {reason}"
        emit(Warned(step=0, code="DEP_UNSLOTH_FAILED", message=message))
        return None
    wrapped.peft_config["default"].base_model_name_or_path = plan.model.name
    wrapped.config.use_cache = False
    return wrapped
