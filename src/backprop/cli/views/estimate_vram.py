"""``backprop estimate-vram`` for a person: whether it fits, then why, then what else would; everything in GiB."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.cli.style import Style
from backprop.plan.estimate.report import EstimateReport, Way
from backprop.plan.quantity import gib, quantity

LEAST_SHOWN_BYTES = 2**30 // 20
"""Less than this is 0.0 GiB; such parts are told as one."""


def show(report: EstimateReport, style: Style) -> str:
    """Verdict, the run in memory, the ways to train or the common cards, remedies, notes, batch sizes by tier."""
    parts = [
        f"{_title(report, style)}\n{_verdict(report, style)}".rstrip(),
        _memory(report, style),
        _ways(report, style) if report.card else _cards(report, style),
        _remedies(report, style),
        "\n".join(style.wrap(note) for note in report.notes),
        _tiers(report, style),
    ]
    return "\n\n".join(part for part in parts if part)


def _title(report: EstimateReport, style: Style) -> str:
    model = f"{report.model}: {quantity(report.num_parameters)} parameters"
    if report.model_from != "MODEL":
        source = "the default, for none was named" if report.model_from == "default" else f"from {report.model_from}"
        model = f"{report.model} ({source}): {quantity(report.num_parameters)} parameters"
    length = f"sequences of {report.sequence_length:,} tokens"
    if report.card is None:
        return style.wrap(f"{model}, {length}. No NVIDIA card is here; name one by its memory with --vram-gb.")
    if report.is_nominal:
        return style.wrap(f"{model}, {length}, on {report.card}: {gib(report.free_bytes or 0)} free assumed.")
    return style.wrap(f"{model}, {length}, on {report.card}, {report.free_gb} of {report.vram_gb} GiB free.")


def _verdict(report: EstimateReport, style: Style) -> str:
    if report.fits is None:
        return style.yellow("Whether it fits is not predicted.") if report.memory is None else ""
    if not report.fits:
        return style.red(style.wrap(f"It does not fit: {report.why_not}."))
    needs = f"It fits: it needs {gib(report.needed_bytes or 0)}."
    if report.largest_batch and report.largest_sequence:
        at_once = _sequences(report.largest_batch)
        needs += f" At most {at_once} at once would fit, or one of {report.largest_sequence:,} tokens."
    return style.green(style.wrap(needs))


def _sequences(number: int) -> str:
    return "1 sequence" if number == 1 else f"{number:,} sequences"


def _memory(report: EstimateReport, style: Style) -> str:
    memory = report.memory
    if memory is None:
        return ""  # a warning says why
    large = [term for term in memory.terms if term.bytes >= LEAST_SHOWN_BYTES]
    rows = [(term.name.value, gib(term.bytes), f"{term.bytes / memory.peak_bytes:.0%}") for term in large]
    rest = memory.peak_bytes - sum(term.bytes for term in large)
    if rest >= LEAST_SHOWN_BYTES:
        rows.append(("all else", gib(rest), f"{rest / memory.peak_bytes:.0%}"))
    rows += [
        ("peak", gib(memory.peak_bytes), f"allocated at its highest, {memory.moment}"),
        ("reserved", gib(memory.reserved_bytes), f"with {memory.reserve_share:.0%} for pieces that nothing fits"),
        ("needed", gib(memory.needed_bytes), f"with {gib(memory.context_bytes)} for the CUDA context"),
    ]
    if memory.host_bytes:
        rows.append(("host memory", gib(memory.host_bytes), "weights, gradients and optimizer states"))
    if memory.paged_bytes >= LEAST_SHOWN_BYTES:
        rows.append(("can be paged out", gib(memory.paged_bytes), "optimizer states, while the card is full"))
    title = style.bold("Memory of the run that auto picks")
    return f"{title}\n{style.wrap(_shape(report), indent=2)}\n{style.table(rows, right=(1,), indent=2)}"


def _shape(report: EstimateReport) -> str:
    """What the memory was computed for, in one line."""
    run = report.run
    if run.lora_rank is None:
        trained = "full fine-tuning, offloaded" if run.full_ft_offload else "full fine-tuning"
    else:
        trained = f"{'DoRA' if run.use_dora else 'LoRA'} rank {run.lora_rank}"
    weights = "4-bit weights" if run.load_in_4bit else f"{run.weights_dtype.value} weights"
    batch = f"batch {run.batch_size}, accumulation {run.gradient_accumulation}"
    recomputed = ("activations recomputed",) if run.gradient_checkpointing else ()
    return ", ".join((batch, *recomputed, trained, weights, run.optimizer.value))


def _ways(report: EstimateReport, style: Style) -> str:
    rows = [(style.cyan(way.flags), *_way(way, style)) for way in report.ways]
    table = style.table(rows, header=("way", "needs", "fits", "at once", "with"), right=(1, 3), indent=2)
    return f"{style.bold('Ways to train it here, from one sequence up')}\n{table}"


def _way(way: Way, style: Style) -> tuple[str, str, str, str]:
    fits = style.yellow("?") if way.fits is None else style.green("yes") if way.fits else style.red("no")
    needs = gib(way.needed_bytes) if way.needed_bytes is not None else "?" if way.batch_size else "–"
    with_it = []
    if way.batch_size is not None and way.optimizer is not None:
        recomputed = "recomputed" if way.gradient_checkpointing else "nothing recomputed"
        with_it = [f"batch {way.batch_size}, {recomputed}, {way.optimizer.value}"]
    host = f"{gib(way.host_bytes)} of host memory" if way.host_bytes and way.fits else ""
    return needs, fits, _count(way.largest_batch), "; ".join(filter(None, (*with_it, host, way.note)))


def _count(largest_batch: int | None) -> str:
    return "?" if largest_batch is None else f"{largest_batch:,}" if largest_batch else "–"


def _cards(report: EstimateReport, style: Style) -> str:
    names = [way.name for way in report.ways]
    rows = [(f"{row.vram_gb} GiB", *_counts(row.largest_batch), row.cards) for row in report.cards]
    title = style.bold("Sequences that fit at once on an empty card; – where none does")
    return f"{title}\n" + style.table(rows, header=("card", *names, "such as"), right=range(len(names) + 1), indent=2)


def _counts(largest_batch: tuple[tuple[str, int | None], ...]) -> Iterator[str]:
    for _, batch in largest_batch:
        yield _count(batch)


def _remedies(report: EstimateReport, style: Style) -> str:
    if report.fits is not False:
        return ""
    title = style.bold("What would make it fit")
    if not report.remedies:
        return f"{title}\n  No change that I know makes it fit; see what a larger card does with --vram-gb."
    rows = [(style.cyan(r.flags), gib(r.needed_bytes)) for r in report.remedies]
    return f"{title}\n{style.table(rows, right=(1,), indent=2)}"


def _tiers(report: EstimateReport, style: Style) -> str:
    rows = []
    for tier in report.tiers:
        is_here = report.card is not None and tier.batch_size == report.tier_batch_size
        size = f"{tier.vram_gb} GiB or more" if tier.vram_gb else "less"
        rows.append((size, str(tier.batch_size), style.green("this card") if is_here else ""))
    table = style.table(rows, header=("card", "batch", ""), right=(1,), indent=2)
    return f"{style.bold('Where --batch-size auto begins, by card')}\n{table}"
