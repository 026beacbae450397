"""The model card of what a run made: what it came from, how, how well, and its use; nothing that was not observed.

https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterator

import attrs

from backprop.plan.export.loss_chart import loss_svg, sparkline
from backprop.plan.export.ollama_name import part_from
from backprop.plan.export.trained import Trained, is_on_hub, without_directory
from backprop.plan.facts.model import ModelSource
from backprop.plan.memory.objective import Objective
from backprop.plan.quantity import counted
from backprop.plan.training.plan import TrainPlan

CARD = "README.md"
LOSS_IMAGE = "loss.svg"
_HERE = "path/to/this/directory"


class Shape(enum.Enum):
    """What stands beside the card."""

    ADAPTER = "adapter"
    MODEL = "model"
    """Every weight was trained."""
    MERGED = "merged"
    """The base with the adapter in it."""
    GGUF = "gguf"
    GGUF_ADAPTER = "gguf adapter"
    """The adapter unmerged, in a GGUF file."""


_ADAPTERS = frozenset({Shape.ADAPTER, Shape.GGUF_ADAPTER})
_GGUFS = frozenset({Shape.GGUF, Shape.GGUF_ADAPTER})


@attrs.frozen
class Card:
    """The text of README.md, and the image that it shows, which stands beside it."""

    text: str
    loss_image: str = ""
    """SVG; empty when no loss was reported."""

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """(name, content) of everything that is written."""
        return ((CARD, self.text), *(((LOSS_IMAGE, self.loss_image),) if self.loss_image else ()))


def model_card(trained: Trained, *, shape: Shape, name: str = "", file: str = "", quantization: str = "") -> Card:
    """The card of an adapter or a model. ``name`` is its title, the run's id if empty; ``file`` names a GGUF file."""
    title = name or trained.run_id
    kind = _KINDS[shape]
    image = loss_svg(trained.losses, trained.heldout_losses, title=f"Losses of run {trained.run_id}")
    sections = (
        _metadata(trained, shape, title),
        (f"# {kind} {title}", "", *_summary(trained.plan)),
        _table(trained, quantization),
        ("## Use", "", *_use(trained, shape, title, file)),
        _results(trained, has_image=bool(image)),
        ("## Reproduce", "", "With the same files:", "", "```sh", trained.command, "```"),
        _licence(trained),
    )
    return Card("\n".join(line for section in sections if section for line in (*section, "")), image)


_KINDS = {
    Shape.ADAPTER: "LoRA adapter",
    Shape.MODEL: "Fine-tuned model",
    Shape.MERGED: "Fine-tuned model",
    Shape.GGUF: "Fine-tuned model, GGUF,",
    Shape.GGUF_ADAPTER: "LoRA adapter, GGUF,",
}


def _metadata(trained: Trained, shape: Shape, title: str) -> tuple[str, ...]:
    plan = trained.plan
    tags = ["backprop", *(["lora"] if plan.adapter else ["full-fine-tuning"])]
    if plan.adapter is not None:
        tags += [*(["dora"] if plan.adapter.use_dora else []), *(["rslora"] if plan.adapter.use_rslora else [])]
        tags += [plan.adapter.initial.kind.value.value] if plan.adapter.initial else []
    tags += [*(["gguf"] if shape in _GGUFS else []), *(["merged"] if shape is Shape.MERGED else [])]
    tags.append(plan.objective.method.value.value)
    library = "gguf" if shape in _GGUFS else "peft" if shape is Shape.ADAPTER else "transformers"
    data, on_hub = plan.data.train.name, _base_on_hub(plan)
    relation = "adapter" if shape in _ADAPTERS else "finetune"
    return (
        "---",
        # The Hub takes only names of its own models as base_model; a directory of this machine would be refused.
        *([f"base_model: {json.dumps(plan.model.name)}", f"base_model_relation: {relation}"] if on_hub else []),
        *([f"datasets:\n- {json.dumps(data.partition(':')[0])}"] if is_on_hub(data) else []),
        f"library_name: {library}",
        *([f"license: {trained.licence}"] if trained.licence else []),
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in tags),
        *_evaluation_metadata(trained, title),
        "---",
    )


def _evaluation_metadata(trained: Trained, title: str) -> Iterator[str]:
    """The held-out loss as the Hub's table of results takes it."""
    best = trained.best
    if best is None or not math.isfinite(best[1]):
        return
    heldout = trained.plan.data.heldout or trained.plan.data.train
    yield from (
        "model-index:",
        f"- name: {json.dumps(title)}",
        "  results:",
        "  - task:",
        "      type: text-generation",
        "    dataset:",
        f"      name: {json.dumps(without_directory(heldout.name))}",
        "      type: held-out",
        "    metrics:",
        "    - type: loss",
        f"      name: Held-out loss{_unit(trained.plan).replace(' nats', ', nats')}",
        f"      value: {best[1]:.4f}",
    )


def _base_on_hub(plan: TrainPlan) -> bool:
    return plan.model.source is not ModelSource.DIRECTORY and is_on_hub(plan.model.name)


def _summary(plan: TrainPlan) -> tuple[str, ...]:
    method = plan.objective.method.value
    if method is not Objective.SFT:
        given = ", ".join(f"{name} {value:g}" for name, value in _coefficients(plan))
        return (f"{_PREFERENCE[method]} with {given}.",)
    learned = " Only the assistant's turns were learned." if plan.data.train.rendering == "chat template" else ""
    return (f"Supervised fine-tuning with backprop.{learned}",)


def _table(trained: Trained, quantization: str) -> tuple[str, ...]:
    plan = trained.plan
    batch, rate, data = plan.batch, plan.learning_rate, plan.data.train
    base = plan.model.name if _base_on_hub(plan) else without_directory(plan.model.name)
    rows = (
        ("Base model", base + (f" at {plan.model.commit}" if plan.model.commit else "")),
        ("Data", f"{data.rows:,} rows, SHA-256 `{data.fingerprint}`"),
        _what_was_trained(plan),
        *((("Quantization", quantization),) if quantization else ()),
        ("Batch", f"{batch.micro_batch.value} × {batch.accumulation.value} sequences a step"),
        ("Steps", f"{plan.length.steps.value} planned, {plan.length.epochs:.2f} epochs"),
        ("Learning rate", f"{rate.peak.value:g}, {rate.scheduler.value.value}, warm-up {rate.warmup_steps.value}"),
        ("Optimizer", plan.optimizer.value.value),
        ("Weights", plan.precision.weights),
        ("Seed", str(plan.seed)),
    )
    return ("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows))


_PREFERENCE = {
    Objective.ORPO: "Trained by preference with backprop: ORPO (arXiv:2403.07691)",
    Objective.SIMPO: "Trained by preference with backprop: SimPO (arXiv:2405.14734)",
    Objective.KTO: "Trained on rated answers with backprop: KTO (arXiv:2402.01306)",
}


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


def _unit(plan: TrainPlan) -> str:
    """What the loss is a mean over."""
    return " nats a token" if plan.objective.method.value is Objective.SFT else ", a mean over rows"


def _what_was_trained(plan: TrainPlan) -> tuple[str, str]:
    adapter = plan.adapter
    if adapter is None:
        return "Trained", f"every weight, {plan.num_trainable:,} parameters"
    shape = f"rank {adapter.rank.value}, alpha {adapter.alpha.value:g}, on {', '.join(adapter.targets.value)}"
    if adapter.use_rslora:
        shape += ", rank-stabilized"
    if adapter.initial is not None:
        shape += f"; begun as {adapter.initial.kind.value.value}, written at rank {adapter.initial.handed_over_rank}"
    return "DoRA" if adapter.use_dora else "LoRA", shape


def _use(trained: Trained, shape: Shape, title: str, file: str) -> tuple[str, ...]:
    tag = part_from(title)
    path = f"{_HERE}/{file}" if file else _HERE
    if shape is Shape.GGUF_ADAPTER:
        return ("With llama.cpp, over a GGUF file of the base:", "", "```sh", f"llama-cli -m BASE --lora {path}", "```")
    ollama = ("```sh", f"backprop ollama register {path} --name {tag}", f"ollama run {tag}", "```")
    if shape is Shape.GGUF:
        return ("With Ollama:", "", *ollama, "", "With llama.cpp:", "", "```sh", f"llama-cli -m {path}", "```")
    auto = "AutoPeftModelForCausalLM" if shape is Shape.ADAPTER else "AutoModelForCausalLM"
    imports = (
        ("from peft import AutoPeftModelForCausalLM", "from transformers import AutoTokenizer")
        if shape is Shape.ADAPTER
        else ("from transformers import AutoModelForCausalLM, AutoTokenizer",)
    )
    asked = (
        (
            'messages = [{"role": "user", "content": "…"}]',
            "prompt = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        )
        if trained.plan.data.train.rendering == "chat template"
        else ('prompt = tokenizer("…", return_tensors="pt")',)
    )
    python = (
        "```python",
        *imports,
        "",
        f'model = {auto}.from_pretrained("{_HERE}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{_HERE}")',
        *asked,
        "answer = model.generate(**prompt, max_new_tokens=128)",
        "print(tokenizer.decode(answer[0, prompt.input_ids.shape[1] :], skip_special_tokens=True))",
        "```",
    )
    how = "merged and quantized on the way" if shape is Shape.ADAPTER else "quantized on the way"
    return (*python, "", f"With Ollama, {how}:", "", *ollama)


def _results(trained: Trained, *, has_image: bool) -> tuple[str, ...]:
    were = "was" if trained.steps_done == 1 else "were"
    lines = ["## Result", "", f"- {counted(trained.steps_done, 'step')} {were} trained."]
    if trained.losses:
        first, last = trained.losses[0][1], trained.losses[-1][1]
        course = f"{first:.4f} {sparkline([loss for _, loss in trained.losses])} " if trained.losses[1:] else ""
        lines.append(f"- Training loss: {course}{last:.4f}{_unit(trained.plan)}.")
    lines += _evaluation(trained)
    lines += ["", f"![Losses over the steps]({LOSS_IMAGE})"] if has_image else []
    return tuple(lines)


def _evaluation(trained: Trained) -> Iterator[str]:
    best = trained.best
    if best is None:
        return
    step, loss = best
    rows = f"{trained.plan.data.heldout.rows:,} rows" if trained.plan.data.heldout else "rows of the data"
    is_likelihood = trained.plan.objective.method.value is Objective.SFT and loss < _MOST_NATS
    perplexity = f", perplexity {math.exp(loss):.2f}" if is_likelihood else ""
    yield (
        f"- Best held-out loss: {loss:.4f}{_unit(trained.plan)}{perplexity}, at step {step}, on {rows} that were not "
        "trained on; these are the weights of that step."
    )


_MOST_NATS = 50.0
"""Beyond it a perplexity says nothing."""


def _licence(trained: Trained) -> tuple[str, ...]:
    if trained.licence is None:
        return ()
    return ("## Licence", "", f"That of the base model, {trained.licence}.")
