"""Completions from a base model with or without an adapter, on torch and PEFT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from backprop.effects.quiet import quiet_libraries
from backprop.effects.train.loading import load_base
from backprop.effects.train.translation import translated
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Stage
from backprop.plan.generation.plan import GenerationPlan
from backprop.plan.generation.report import Ending

ADAPTER_NAME = "default"


@attrs.frozen
class Continuation:
    """The new tokens of one completion, without the one that ended it."""

    ids: tuple[int, ...]
    num_tokens: int
    ending: Ending


def generate(plan: GenerationPlan, base_dir: str, *, emit: Callable[[Event], None]) -> tuple[Continuation, ...]:
    """Load and continue the plan's prompt. ``base_dir`` holds the base's weights.

    Raises ``BackpropError`` DEP_MODEL_LOAD_FAILED, RUNTIME_GENERATION_FAILED, RUNTIME_GPU_OOM.
    """
    emit(Stage("loading the model"))
    model = load_model(plan, base_dir)
    emit(Stage("generating"))
    return continue_prompt(model, plan)


def load_model(plan: GenerationPlan, base_dir: str) -> Any:
    """The base with the plan's adapter, ready to generate from any plan of the same target."""
    with quiet_libraries():
        model = load_base(plan, base_dir)
        if plan.adapter_dir is not None:
            model = _with_adapter(plan.model.name, model, plan.adapter_dir)
        model.eval()
        model.config.use_cache = True
        return model


def continue_prompt(model: Any, plan: GenerationPlan) -> tuple[Continuation, ...]:
    """One continuation a seed, each a function of its own seed alone."""
    with (
        quiet_libraries(),
        translated("RUNTIME_GENERATION_FAILED", "Generation stopped"),
        torch.random.fork_rng(),
    ):
        return tuple(_continue(model, plan, seed) for seed in plan.seeds)


def _with_adapter(base: str, model: transformers.PreTrainedModel, adapter_dir: str) -> Any:
    with translated("DEP_MODEL_LOAD_FAILED", "The adapter cannot be loaded", where=adapter_dir), _mismatch(base):
        wrapped = PeftModel.from_pretrained(model, adapter_dir)
    _check_complete(wrapped, base, Path(adapter_dir))
    return wrapped


@contextmanager
def _mismatch(base: str) -> Iterator[None]:
    """Tensors of another shape, and target layers that the base lacks."""
    try:
        yield
    except (RuntimeError, ValueError) as wrong:
        if isinstance(wrong, torch.OutOfMemoryError):
            raise
        raise _does_not_fit(base) from wrong


def _check_complete(model: PeftModel, base: str, adapter_dir: Path) -> None:
    # PEFT drops tensors that have no place in the base, and lets layers without tensors be, with a warning at most.
    weights = adapter_dir / "adapter_model.safetensors"
    if not weights.is_file():
        return
    with safe_open(str(weights), framework="pt") as stored:
        placed = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
        if _lora(stored.keys()) != _lora(placed.keys()):
            raise _does_not_fit(base)


def _lora(names: Iterable[str]) -> set[str]:
    return {name for name in names if "lora_" in name}


def _does_not_fit(base: str) -> BackpropError:
    return BackpropError(
        Problem(
            "DEP_MODEL_LOAD_FAILED",
            f"The adapter does not fit {base}: it was trained on a model of another shape.",
            where="--base",
            hint="Pass the model that it was trained on with --base.",
        )
    )


def _continue(model: Any, plan: GenerationPlan, seed: int) -> Continuation:
    torch.manual_seed(seed)
    prompt = torch.tensor([plan.prompt_ids], device=model.device)
    config = _sampling(plan)
    # What the repository recommends, top-k or a repetition penalty, would be mixed into what was asked for.
    model.generation_config = config
    with torch.inference_mode():
        output = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=config, use_cache=True
        )
    new = output[0, prompt.shape[1] :].tolist()
    ended = bool(new) and new[-1] in plan.stop_ids
    return Continuation(tuple(new[:-1] if ended else new), len(new), Ending.STOP if ended else Ending.LENGTH)


def _sampling(plan: GenerationPlan) -> transformers.GenerationConfig:
    sampled = plan.temperature > 0
    return transformers.GenerationConfig(
        max_new_tokens=plan.max_new_tokens,
        do_sample=sampled,
        **({"temperature": plan.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}),
        eos_token_id=list(plan.stop_ids) or None,
        pad_token_id=plan.stop_ids[0] if plan.stop_ids else None,
    )
