"""A training plan as a person reads it: every line a value, with the rule that set it and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backprop.cli.style import Style, printable
from backprop.plan.decision import Decision
from backprop.plan.facts.dataset import DatasetFacts, TokenFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.quantity import GIB, about, counted, gib, quantity
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.initial import InitialPlan
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import Rail

Line = tuple[str, str, str]
"""Name, value, reason."""


def show_plan(plan: TrainPlan, style: Style) -> str:
    """The plan in parts, each a table; the columns stand at the same place in all of them."""
    parts = {
        "Model": list(_model(plan)),
        "Data": list(_data(plan)),
        **({"Adapter": list(_adapter(plan, plan.adapter))} if plan.adapter else {"Weights": list(_weights(plan))}),
        "Run": list(_run(plan)),
        "Update": list(_update(plan)),
        "Memory": list(_memory(plan)),
    }
    names = max(len(name) for lines in parts.values() for name, _, _ in lines)
    values = max(len(value) for lines in parts.values() for _, value, _ in lines)
    return "\n\n".join(
        f"{style.bold(title)}\n{_table(lines, style, names=names, values=min(values, _WIDEST_VALUE))}"
        for title, lines in parts.items()
    )


_WIDEST_VALUE = 34


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _every(steps: int) -> str:
    return "every step" if steps == 1 else f"every {steps:,} steps"


def _table(lines: list[Line], style: Style, *, names: int, values: int) -> str:
    rows = [
        (style.dim(name.ljust(names)), style.cyan(printable(value).ljust(values)), printable(why))
        for name, value, why in lines
    ]
    return style.table(rows, indent=2)


def _line(name: str, decision: Decision[Any], value: str | None = None) -> Line:
    text = value if value is not None else str(decision.value)
    return name, text, f"{decision.rule}: {decision.why}"


def _model(plan: TrainPlan) -> Iterator[Line]:
    model, tokenizer = plan.model, plan.tokenizer
    short = model.name.rstrip("/").rsplit("/", 1)[-1]
    yield (
        "model",
        short,
        f"{model.model_type}, {quantity(model.num_parameters)} parameters, from the {model.source.value} {_of(plan)}",
    )
    yield _line("runs on", plan.rail, plan.rail.value.value)
    if plan.unsloth is not None:
        yield _line("Unsloth", plan.unsloth, "on" if plan.unsloth.value else "off")
    if plan.precision.load_in_4bit.value:
        yield _line("weights", plan.precision.load_in_4bit, plan.precision.weights)
    elif plan.precision.float8 is not None:
        yield _line("weights", plan.precision.float8.layers, plan.precision.weights)
    yield _line("arithmetic", plan.precision.compute, plan.precision.compute.value.value)
    if plan.trust_remote_code:
        yield "remote code", "trusted", "The model's repository may run its own Python here."
    if model.licence:
        yield "licence", model.licence, "of the base model, as its card says"
    if tokenizer is not None and tokenizer.chat_template is not None:
        yield "chat template", tokenizer.chat_template_name, tokenizer.chat_template_note or _ends(plan)
    if plan.gguf_export is not None:
        yield "GGUF export", "can be made" if plan.gguf_export.value else "cannot be made", plan.gguf_export.why


def _of(plan: TrainPlan) -> str:
    model = plan.model
    return model.name if not model.commit else f"{model.name} at {model.commit[:12]}"


def _ends(plan: TrainPlan) -> str:
    tokens = plan.data.train.tokens
    if tokens is None or not tokens.end_tokens:
        return "Writes conversations as the model knows them."
    return f"Its {' and '.join(tokens.end_tokens)} ends an answer, and is learned."


def _data(plan: TrainPlan) -> Iterator[Line]:
    yield from _dataset("rows", plan.data.train, plan)
    if plan.data.heldout is not None:
        yield from _dataset("held out", plan.data.heldout, plan)


def _dataset(name: str, data: DatasetFacts, plan: TrainPlan) -> Iterator[Line]:
    used = data.rows if data.tokens is None else data.tokens.sequences
    rows = f"{data.rows:,}" if used == data.rows else f"{used:,} of {data.rows:,}"
    yield name, rows, f"{data.row_format}, written by {data.rendering}; {data.name}"
    if data.tokens is None:
        return
    if name == "rows":
        yield from _tokens(data.tokens, plan)
        if data.ratings is not None:
            yield "rated", f"{data.ratings.desirable:,} good", f"and {data.ratings.undesirable:,} bad answers"
        yield _line("longest row", plan.batch.sequence_length, f"at most {plan.batch.sequence_length.value:,} tokens")
    else:
        yield "", f"{data.tokens.tokens:,} tokens", f"{data.tokens.supervised_tokens:,} of them measured"


def _tokens(tokens: TokenFacts, plan: TrainPlan) -> Iterator[Line]:
    share = tokens.supervised_tokens / tokens.tokens if tokens.tokens else 0
    lengths = f"half of the rows have up to {tokens.uncut_p50:,}, nine in ten up to {tokens.uncut_p90:,}"
    yield "tokens", f"{tokens.tokens:,}", f"{lengths}, the longest has {tokens.longest_uncut:,}"
    yield "learned", f"{tokens.supervised_tokens:,} ({share:.0%})", "the answers and the tokens that end them"
    if tokens.truncated.rows:
        yield (
            "cut" if plan.objective.method.value is Objective.SFT else "left out",
            _count(tokens.truncated.rows, "row"),
            f"longer than the sequence, such as {tokens.truncated.example}",
        )
    if tokens.without_target.rows:
        yield "left out", _count(tokens.without_target.rows, "row"), "nothing in them is learned"


def _weights(plan: TrainPlan) -> Iterator[Line]:
    yield "trainable", quantity(plan.num_trainable), "full fine-tuning: every weight is updated"
    precision = plan.precision
    yield _line("held in", precision.held or precision.compute, precision.storage.value)
    if plan.rounding is not None:
        yield _line("rounding", plan.rounding, plan.rounding.value.value)
    if plan.offload is not None:
        backend = plan.offload.backend.value
        yield "offload", "to host memory", f"weights, gradients and optimizer; FSDP2 over {backend}"


def _adapter(plan: TrainPlan, adapter: AdapterPlan) -> Iterator[Line]:
    share = adapter.num_parameters / plan.model.num_parameters
    yield _line("rank", adapter.rank)
    yield _line("alpha", adapter.alpha, f"{adapter.alpha.value:g}")
    layers = adapter.targets
    yield "layers", counted(len(layers.value), "kind"), f"{layers.rule}: {', '.join(layers.value)}"
    if adapter.use_dora:
        yield "DoRA", "on", "each output's magnitude is learned apart from its direction (arXiv:2402.09353)"
    if adapter.use_rslora:
        yield (
            "rsLoRA",
            "on",
            f"scaled by alpha over the rank's square root, {adapter.scale:.3g} (arXiv:2312.03732)",
        )
    if adapter.initial is not None:
        yield from _initial(plan, adapter.initial)
    if adapter.dropout:
        yield "dropout", f"{adapter.dropout:g}", "of the adapter's input"
    yield "trainable", quantity(adapter.num_parameters), f"{share:.1%} of the model's parameters, seed {adapter.seed}"


_FIRST_WEIGHTS = {
    AdapterInit.PISSA: "the principal directions of each weight; what is frozen is the rest (arXiv:2404.02948)",
    AdapterInit.LOFTQ: "what 4 bits take from each weight, quantized and decomposed in turn (arXiv:2310.08659)",
}


def _initial(plan: TrainPlan, initial: InitialPlan) -> Iterator[Line]:
    kind = initial.kind.value
    yield "begins as", kind.value, f"{initial.kind.rule}: {_FIRST_WEIGHTS[kind]}"
    seconds = plan.throughput.seconds_of(initial.flops)
    takes = f"takes {about(seconds[0])} to {about(seconds[1])}" if seconds else "takes a while"
    yield (
        "",
        f"up to {gib(max(initial.matrix_bytes, GIB // 10))} beforehand",
        f"{takes}; whole weights are read a matrix at a time",
    )
    yield "written as", f"rank {initial.handed_over_rank}", "trained less first weights, which fits the model as it is"


def _run(plan: TrainPlan) -> Iterator[Line]:
    batch, length = plan.batch, plan.length
    yield from _objective(plan)
    yield _line("packing", batch.packing, "on" if batch.packing.value else "off")
    if batch.packed_length is not None:
        yield _line("packed length", batch.packed_length, f"{batch.packed_length.value:,} tokens")
    yield _line("batch", batch.micro_batch)
    yield _line("accumulation", batch.accumulation)
    unit = "pair" if plan.objective.method.value.is_paired else "sequence"
    factors = [batch.micro_batch.value, batch.accumulation.value, *([batch.processes] if batch.processes > 1 else [])]
    if batch.processes > 1:
        yield "processes", str(batch.processes), "started by a launcher; each takes an equal share of every update"
    yield "", f"{_count(batch.effective, unit)} a step", " × ".join(map(str, factors))
    yield _line("steps", length.steps, f"{length.steps.value:,}")
    passes = f"{length.epochs:.2f} passes over {_count(length.sequences, unit)}"
    if length.tokens is not None:
        yield "", f"{quantity(length.tokens)} tokens", f"{quantity(length.supervised_tokens or 0)} learned, in {passes}"
    else:
        yield "", passes, "the rows are not tokenized yet"
    yield from _duration(plan)
    yield "order", "shuffled" if plan.shuffle else "as given", f"seed {plan.seed}"
    yield from _evaluation(plan)
    every = plan.checkpoints.every
    yield _line("checkpoint", every, _every(every.value))
    yield (
        "",
        f"{plan.checkpoints.keep} kept",
        "the newest, and the best by held-out loss" if plan.evaluation else "the newest",
    )
    if plan.trackers:
        yield "reports to", ", ".join(t.value for t in plan.trackers), "with the run's id as its name"
    yield "output", plan.output_dir, f"a directory of its own below {plan.output_dir}/runs"


def _objective(plan: TrainPlan) -> Iterator[Line]:
    objective = plan.objective
    if objective.method.value is Objective.SFT:
        return
    yield _line("method", objective.method, objective.method.value.value)
    for name, decided in (
        ("beta", objective.beta),
        ("gamma", objective.gamma),
        ("good answers", objective.desirable_weight),
        ("bad answers", objective.undesirable_weight),
    ):
        if decided is not None:
            yield _line(name, decided, f"{decided.value:g}")


def _duration(plan: TrainPlan) -> Iterator[Line]:
    throughput = plan.throughput
    work = f"{throughput.flops_per_token / 1e9:.3g} GFLOP a token"
    seconds = throughput.seconds(plan.length.steps.value)
    if seconds is None:
        yield "takes", "unknown until measured", f"{work}; {throughput.basis}"
        return
    shortest, longest = (about(number) for number in seconds)
    yield "takes", f"{shortest} to {longest}", f"{work}; {throughput.basis}; the first steps measure it"


def _evaluation(plan: TrainPlan) -> Iterator[Line]:
    if plan.evaluation is None:
        return
    yield _line("evaluation", plan.evaluation.every, _every(plan.evaluation.every.value))
    if plan.evaluation.patience is not None:
        yield "early stop", f"{plan.evaluation.patience} evaluations", "without a better held-out loss"


def _update(plan: TrainPlan) -> Iterator[Line]:
    rate = plan.learning_rate
    yield _line("learning rate", rate.peak, f"{rate.peak.value:g}")
    yield _line("schedule", rate.scheduler, rate.scheduler.value.value)
    yield _line("warm-up", rate.warmup_steps, _count(rate.warmup_steps.value, "step"))
    yield _line("optimizer", plan.optimizer, plan.optimizer.value.value)
    if plan.weight_decay:
        where = "every trainable weight" if plan.adapter else "every matrix; norms and biases have none"
        yield "weight decay", f"{plan.weight_decay:g}", f"decoupled, on {where}"
    yield "gradient norm", f"at most {plan.max_grad_norm:g}", "longer gradients are scaled down"


def _memory(plan: TrainPlan) -> Iterator[Line]:
    """What is alive at the peak, what the allocator and the driver take besides, and what there is."""
    checkpointing = plan.gradient_checkpointing
    yield _line("recompute", checkpointing, "on" if checkpointing.value else "off")
    yield _line("attention", plan.attention, plan.attention.value.value)
    memory, budget = plan.memory, plan.budget
    if memory is None:
        what = "the MLX rail" if plan.rail.value is Rail.MLX else plan.model.model_type
        yield "peak", "unknown", f"not modelled for {what}"
        return
    yield "peak", gib(memory.peak_bytes), f"allocated at its highest, {memory.moment}"
    for term in memory.terms:
        if term.bytes * 100 >= memory.peak_bytes:
            yield "", f"{gib(term.bytes)} {term.name.value}", f"{term.bytes / memory.peak_bytes:.0%}"
    if memory.reserve_share:
        yield "reserved", gib(memory.reserved_bytes), f"with {memory.reserve_share:.0%} for pieces that nothing fits"
    on_processor = "the process with its libraries" + (
        ", first weights" if plan.adapter and plan.adapter.initial else ""
    )
    outside = "the CUDA context" if plan.rail.value is Rail.CUDA else on_processor
    yield "needed", gib(memory.needed_bytes), f"with {gib(memory.context_bytes)} of {outside}"
    if memory.host_bytes:
        free = gib(budget.host_free_bytes) if budget and budget.host_free_bytes else "an unknown amount"
        yield "host memory", gib(memory.host_bytes), f"of {free} that are free"
    if budget is not None:
        yield "free", gib(budget.free_bytes), f"of {gib(budget.total_bytes)}, {budget.place}"
