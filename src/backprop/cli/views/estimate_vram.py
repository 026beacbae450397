"""``backprop estimate-vram`` for a person: the tiers, then the model on the card; everything in GiB."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.cli.style import Style
from backprop.plan.estimate.report import EstimateReport, Way
from backprop.plan.quantity import gib, quantity


def show(report: EstimateReport, style: Style) -> str:
    """Four parts at most: batch sizes by tier, the run in memory, the ways to train, common cards or remedies."""
    parts = [_title(report, style), _tiers(report, style), _memory(report, style)]
    parts += [_ways(report, style)] if report.card else [_cards(report, style)]
    if report.remedies:
        rows = [(style.cyan(r.flags), gib(r.needed_bytes)) for r in report.remedies]
        parts.append(f"{style.bold('What would make it fit')}\n{style.table(rows, right=(1,), indent=2)}")
    return "\n\n".join(parts)


def _title(report: EstimateReport, style: Style) -> str:
    model = f"{report.model}: {quantity(report.num_parameters)} parameters"
    length = f"sequences of {report.sequence_length:,} tokens"
    if report.card is None:
        return style.wrap(f"{model}, {length}. No NVIDIA card is here; name one by its memory with --vram-gb.")
    return style.wrap(f"{model}, {length}, on {report.card}, {report.free_gb} of {report.vram_gb} GiB free.")


def _tiers(report: EstimateReport, style: Style) -> str:
    rows = []
    for tier in report.tiers:
        is_here = report.card is not None and tier.batch_size == report.tier_batch_size
        size = f"{tier.vram_gb} GiB or more" if tier.vram_gb else "less"
        rows.append((size, str(tier.batch_size), style.green("this card") if is_here else ""))
    table = style.table(rows, header=("card", "batch", ""), right=(1,), indent=2)
    title = style.bold("Where --batch-size auto begins, by card")
    return f"{title}\n{table}"


def _memory(report: EstimateReport, style: Style) -> str:
    memory = report.memory
    if memory is None:
        return "\n".join((style.bold("Memory"), style.wrap(" ".join(filter(None, (report.note, report.refusal))))))
    rows = [(term.name.value, gib(term.bytes), f"{term.bytes / memory.peak_bytes:.0%}") for term in memory.terms]
    rows += [
        ("peak", gib(memory.peak_bytes), f"allocated at its highest, {memory.moment}"),
        ("reserved", gib(memory.reserved_bytes), f"with {memory.reserve_share:.0%} for pieces that nothing fits"),
        ("needed", gib(memory.needed_bytes), f"with {gib(memory.context_bytes)} for the CUDA context"),
    ]
    if memory.host_bytes:
        rows.append(("host memory", gib(memory.host_bytes), "weights, gradients and optimizer states"))
    if memory.paged_bytes:
        rows.append(("can be paged out", gib(memory.paged_bytes), "optimizer states, while the card is full"))
    recomputed = ", activations recomputed" if report.gradient_checkpointing else ""
    batch = f"batch {report.recommended_batch_size}, accumulation {report.gradient_accumulation}{recomputed}"
    title = style.bold("Memory of the run that auto picks")
    guess = f"\n{style.wrap(style.yellow(report.note))}" if report.note else ""
    return f"{title}\n  {batch}\n{style.table(rows, right=(1,), indent=2)}\n{_verdict(report, style)}{guess}"


def _verdict(report: EstimateReport, style: Style) -> str:
    if report.fits is None:
        return ""
    if not report.fits:
        return "  " + style.red("It does not fit.") if not report.refusal else style.wrap(style.red(report.refusal))
    return "  " + style.green(
        f"It fits; so do {report.largest_batch:,} sequences at once, or one of {report.largest_sequence:,} tokens."
    )


def _ways(report: EstimateReport, style: Style) -> str:
    rows = [(style.cyan(way.flags), *_way(way, style)) for way in report.ways]
    header = ("way", "needs", "fits", "")
    return f"{style.bold('Ways to train it here, from one sequence up')}\n" + style.table(
        rows, header=header, right=(1,), indent=2
    )


def _way(way: Way, style: Style) -> tuple[str, str, str]:
    if way.needed_bytes is None:
        return "?", style.yellow("?"), way.note
    host = f"and {gib(way.host_bytes)} of host memory" if way.host_bytes else ""
    if way.fits:
        return gib(way.needed_bytes), style.green("yes"), f"up to {way.largest_batch:,} at once {host}".rstrip()
    return gib(way.needed_bytes), style.red("no"), "; ".join(filter(None, (way.note, host.removeprefix("and "))))


def _cards(report: EstimateReport, style: Style) -> str:
    names = [way.name for way in report.ways]
    rows = [(f"{row.vram_gb} GiB", *_counts(row.largest_batch), row.cards) for row in report.cards]
    title = style.bold("Sequences that fit at once on an empty card; – where none does")
    return f"{title}\n" + style.table(rows, header=("card", *names, "such as"), right=range(len(names) + 1), indent=2)


def _counts(largest_batch: tuple[tuple[str, int], ...]) -> Iterator[str]:
    for _, batch in largest_batch:
        yield f"{batch:,}" if batch else "–"
