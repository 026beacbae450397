"""The model card of an adapter or a whole model: what it came from, how, and its use; nothing that was not observed."""

from __future__ import annotations

import json

from backprop.plan.facts.model import ModelSource
from backprop.plan.training.plan import TrainPlan


def model_card(
    plan: TrainPlan, *, run_id: str, steps_done: int, last_loss: float | None, best_loss: float | None
) -> str:
    """Markdown with the Hub's metadata on top. Losses are mean nats a supervised token."""
    return "\n".join((*_metadata(plan), "", *_body(plan, run_id), "", *_results(steps_done, last_loss, best_loss), ""))


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
        *(["- rslora"] if plan.adapter and plan.adapter.use_rslora else []),
        *([f"- {plan.adapter.initial.kind.value.value}"] if plan.adapter and plan.adapter.initial else []),
        "- sft",
        "---",
    )


def _body(plan: TrainPlan, run_id: str) -> tuple[str, ...]:
    batch, rate = plan.batch, plan.learning_rate
    kind = "LoRA adapter" if plan.adapter else "Fine-tuned model"
    auto = "AutoPeftModelForCausalLM" if plan.adapter else "AutoModelForCausalLM"
    rows = (
        ("Base model", plan.model.name + (f" at {plan.model.commit}" if plan.model.commit else "")),
        *([("Licence of the base", plan.model.licence)] if plan.model.licence else []),
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
        "Supervised fine-tuning with backprop. Only the assistant's turns were learned."
        if plan.data.train.rendering == "chat template"
        else "Supervised fine-tuning with backprop.",
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


def _trained(plan: TrainPlan) -> tuple[str, str]:
    adapter = plan.adapter
    if adapter is None:
        return "Trained", f"every weight, {plan.num_trainable:,} parameters"
    shape = f"rank {adapter.rank.value}, alpha {adapter.alpha.value:g}, on {', '.join(adapter.targets.value)}"
    if adapter.use_rslora:
        shape += ", rank-stabilized"
    if adapter.initial is not None:
        shape += f"; begun as {adapter.initial.kind.value.value}, written at rank {adapter.initial.handed_over_rank}"
    return "DoRA" if adapter.use_dora else "LoRA", shape


def _results(steps_done: int, last_loss: float | None, best_loss: float | None) -> tuple[str, ...]:
    lines = ["## Result", "", f"- {steps_done} steps were trained."]
    if last_loss is not None:
        lines.append(f"- Training loss over the last steps: {last_loss:.4f} nats a token.")
    if best_loss is not None:
        lines.append(f"- Best held-out loss: {best_loss:.4f} nats a token; these are the weights of that step.")
    return tuple(lines)
