"""The model card of an adapter or a whole model: what it came from, how, and its use; nothing that was not observed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from backprop.plan.facts.model import ModelSource
from backprop.plan.memory.objective import Objective
from backprop.plan.training.plan import TrainPlan


def model_card(
    plan: TrainPlan, *, run_id: str, steps_done: int, last_loss: float | None, best_loss: float | None
) -> str:
    """Markdown with the Hub's metadata on top. Losses are nats a supervised token, or a method's mean over rows."""
    results = _results(steps_done, last_loss, best_loss, unit=_unit(plan))
    return "\n".join((*_metadata(plan), "", *_body(plan, run_id), "", *results, ""))


def _unit(plan: TrainPlan) -> str:
    """What the loss is a mean over."""
    return " nats a token" if plan.objective.method.value is Objective.SFT else ", a mean over rows"


def _metadata(plan: TrainPlan) -> tuple[str, ...]:
    # The Hub takes only names of its own models as base_model; a directory of this machine would be refused.
    on_hub = plan.model.source is not ModelSource.DIRECTORY
    return (
        "---",
        *([f"base_model: {json.dumps(plan.model.name)}"] if on_hub else []),
        f"library_name: {'peft' if plan.adapter else 'transformers'}",
        "pipeline_tag: text-generation",
        "tags:",
        "- backprop",
        *(["- lora"] if plan.adapter else ["- full-fine-tuning"]),
        *(["- dora"] if plan.adapter and plan.adapter.use_dora else []),
        f"- {plan.objective.method.value.value}",
        "---",
    )


def _body(plan: TrainPlan, run_id: str) -> tuple[str, ...]:
    batch, rate = plan.batch, plan.learning_rate
    kind = "LoRA adapter" if plan.adapter else "Fine-tuned model"
    auto = "AutoPeftModelForCausalLM" if plan.adapter else "AutoModelForCausalLM"
    rows = (
        ("Base model", plan.model.name + (f" at {plan.model.commit}" if plan.model.commit else "")),
        ("Data", f"{plan.data.train.rows:,} rows, SHA-256 {plan.data.train.fingerprint[:16]}…"),
        _trained(plan),
        ("Batch", f"{batch.micro_batch.value} × {batch.accumulation.value} sequences a step"),
        ("Steps", f"{plan.length.steps.value} planned, {plan.length.epochs:.2f} epochs"),
        ("Learning rate", f"{rate.peak.value:g}, {rate.scheduler.value.value}, warm-up {rate.warmup_steps.value}"),
        ("Optimizer", plan.optimizer.value.value),
        ("Weights", plan.precision.weights),
        ("Seed", str(plan.seed)),
    )
    return (
        f"# {kind} {run_id}",
        "",
        _method(plan),
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "## Use",
        "",
        "```python",
        *(
            ["from peft import AutoPeftModelForCausalLM", "from transformers import AutoTokenizer"]
            if plan.adapter
            else ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
        ),
        "",
        f'model = {auto}.from_pretrained("path/to/this/directory")',
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")',
        "```",
    )


_PREFERENCE = {
    Objective.ORPO: "Trained by preference with backprop: ORPO (arXiv:2403.07691)",
    Objective.SIMPO: "Trained by preference with backprop: SimPO (arXiv:2405.14734)",
    Objective.KTO: "Trained on rated answers with backprop: KTO (arXiv:2402.01306)",
}


def _method(plan: TrainPlan) -> str:
    method = plan.objective.method.value
    if method is not Objective.SFT:
        given = ", ".join(f"{name} {value:g}" for name, value in _coefficients(plan))
        return f"{_PREFERENCE[method]} with {given}."
    only = " Only the assistant's turns were learned." if plan.data.train.rendering == "chat template" else ""
    return f"Supervised fine-tuning with backprop.{only}"


def _coefficients(plan: TrainPlan) -> Iterator[tuple[str, float]]:
    objective = plan.objective
    for name, decided in (
        ("beta", objective.beta),
        ("gamma", objective.gamma),
        ("weight of good answers", objective.desirable_weight),
        ("weight of bad answers", objective.undesirable_weight),
    ):
        if decided is not None:
            yield name, decided.value


def _trained(plan: TrainPlan) -> tuple[str, str]:
    adapter = plan.adapter
    if adapter is None:
        return "Trained", f"every weight, {plan.num_trainable:,} parameters"
    shape = f"rank {adapter.rank.value}, alpha {adapter.alpha.value:g}, on {', '.join(adapter.targets.value)}"
    return "DoRA" if adapter.use_dora else "LoRA", shape


def _results(steps_done: int, last_loss: float | None, best_loss: float | None, *, unit: str) -> tuple[str, ...]:
    lines = ["## Result", "", f"- {steps_done} steps were trained."]
    if last_loss is not None:
        lines.append(f"- Training loss over the last steps: {last_loss:.4f}{unit}.")
    if best_loss is not None:
        lines.append(f"- Best held-out loss: {best_loss:.4f}{unit}; these are the weights of that step.")
    return tuple(lines)
