"""The model card of an adapter: what it was made from, how, and how to use it; nothing that was not observed."""

from __future__ import annotations

import json

from backprop.plan.facts.model import ModelSource
from backprop.plan.training.plan import TrainPlan


def adapter_card(
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
        "library_name: peft",
        "pipeline_tag: text-generation",
        "tags:",
        "- backprop",
        "- lora",
        "- sft",
        "---",
    )


def _body(plan: TrainPlan, run_id: str) -> tuple[str, ...]:
    adapter, batch, rate = plan.adapter, plan.batch, plan.learning_rate
    rows = (
        ("Base model", plan.model.name + (f" at {plan.model.commit}" if plan.model.commit else "")),
        ("Data", f"{plan.data.train.rows:,} rows, SHA-256 {plan.data.train.fingerprint[:16]}…"),
        ("LoRA", f"rank {adapter.rank.value}, alpha {adapter.alpha.value:g}, on {', '.join(adapter.targets.value)}"),
        ("Batch", f"{batch.micro_batch.value} × {batch.accumulation.value} sequences a step"),
        ("Steps", f"{plan.length.steps.value} planned, {plan.length.epochs:.2f} epochs"),
        ("Learning rate", f"{rate.peak.value:g}, {rate.scheduler.value.value}, warm-up {rate.warmup_steps.value}"),
        ("Optimizer", plan.optimizer.value.value),
        ("Weights", plan.precision.weights),
        ("Seed", str(plan.seed)),
    )
    return (
        f"# LoRA adapter {run_id}",
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
        "from peft import AutoPeftModelForCausalLM",
        "from transformers import AutoTokenizer",
        "",
        'model = AutoPeftModelForCausalLM.from_pretrained("path/to/this/directory")',
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")',
        "```",
    )


def _results(steps_done: int, last_loss: float | None, best_loss: float | None) -> tuple[str, ...]:
    lines = ["## Result", "", f"- {steps_done} steps were trained."]
    if last_loss is not None:
        lines.append(f"- Training loss over the last steps: {last_loss:.4f} nats a token.")
    if best_loss is not None:
        lines.append(f"- Best held-out loss: {best_loss:.4f} nats a token; these are the weights of that step.")
    return tuple(lines)
