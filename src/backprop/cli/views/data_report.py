"""``backprop data report`` for a person: the verdict, the rates, the lengths, then what is worst with its places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from backprop.cli.style import Style, printable
from backprop.plan.data.page import bin_bars
from backprop.plan.data.quality import RateCheck, Verdict
from backprop.plan.data.quality_report import DataReport
from backprop.plan.data.quality_tally import Place
from backprop.plan.decision import Severity

_BAR_COLUMNS = 30
_BLOCKS = " ▏▎▍▌▋▊▉"
_FEW = 3
"""Places shown of each sort."""
_NAMES_SHOWN = 6


def show(report: DataReport, style: Style) -> str:
    """The verdict on the first line."""
    parts = [f"{_verdict(report, style)}\n{_layout(report, style)}", _rates(report.rates, style)]
    parts += [part for part in (_lengths(report, style), _mix(report, style)) if part]
    parts += _worst(report, style)
    if report.html is not None:
        parts.append(f"The page: {style.cyan(printable(report.html))}")
    return "\n\n".join(parts)


def _paint(verdict: Verdict, text: str, style: Style) -> str:
    return {Verdict.PASS: style.green, Verdict.WARN: style.yellow, Verdict.FAIL: style.red}[verdict](text)


def _verdict(report: DataReport, style: Style) -> str:
    rows = _many(report.total_rows)
    unread = f", {report.parse_errors:,} of them not read" if report.parse_errors else ""
    part = "" if report.complete else "; --max-samples left the others out"
    verdict = _paint(report.verdict, report.verdict.value, style)
    first = f"{verdict}: {printable(report.dataset)}, {rows}{unread}{part}"
    return "\n".join((first, *(f"  {style.red(reason)}" for reason in report.failed_thresholds)))


def _layout(report: DataReport, style: Style) -> str:
    told = report.format_detected
    known = f"{style.cyan(told.value)}, in {report.format_confidence:.0%} of the first rows" if told else "not known"
    read_as = f"; read as {report.format.value}" if report.format not in (None, told) else ""
    mixed = f"; {style.yellow('mixed')}: {_counts(report.format_distribution)}" if report.mixed_formats else ""
    return f"Layout: {known}{read_as}{mixed}"


def _rates(rates: Sequence[RateCheck], style: Style) -> str:
    rows = []
    for check in rates:
        if check.value is None or check.verdict is None:
            continue
        verdict = Verdict.FAIL if check.gate_tripped else check.verdict
        limit = check.gate if check.gate_tripped else check.limit
        past = "" if limit is None else f"more than {_percent(limit)}. {check.remedy}"
        rows.append((check.rate.value, f"{check.value:.2%}", _paint(verdict, verdict.value, style), past))
    return style.table(rows, header=("rate", "rows", "", ""), right=(1,))


def _lengths(report: DataReport, style: Style) -> str:
    if not report.tokens.rows:
        return ""
    tokens = report.tokens
    title = f"{style.bold('Tokens a row')} {style.dim(f'({printable(report.token_source)})')}"
    told = f"  median {tokens.p50:,}, 90 % up to {tokens.p90:,}, longest {tokens.longest:,}, {tokens.total:,} in all"
    bars = bin_bars(tokens.histogram)
    most = max(rows for _, rows in bars)
    lines = [(label, _bar(rows / most, style), f"{rows:,}") for label, rows in bars]
    return f"{title}\n{told}\n{style.table(lines, right=(0,), indent=2)}"


def _bar(share: float, style: Style) -> str:
    """A bar in eighths of a column; what is not nothing is never invisible."""
    if not style.unicode:
        return "#" * max(round(share * _BAR_COLUMNS), share > 0)
    eighths = max(round(share * _BAR_COLUMNS * 8), share > 0)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_BLOCKS[rest] if rest else "")


def _mix(report: DataReport, style: Style) -> str:
    pairs = []
    if len(report.turns) > 1:
        pairs.append(("rows by turns", _counts({f"{turns}:": rows for turns, rows in report.turns.items()})))
    if report.scripts:
        pairs.append(("scripts", _counts(report.scripts)))
    if report.think_rows:
        trace = report.traces
        lengths = f"median {trace.p50:,} tokens, 90 % up to {trace.p90:,}, longest {trace.longest:,}"
        pairs.append(("reasoning", f"{_many(report.think_rows)} ({report.think_pct:.1%}); {lengths}"))
    return style.pairs(pairs)


def _worst(report: DataReport, style: Style) -> Iterator[str]:
    for check in report.checks:
        paint = style.red if check.severity is Severity.ERROR else style.yellow
        title = f"{paint(check.check.value)}: {_many(check.rows)}. {check.fix}"
        yield _titled(title, check.places, style)
    if report.clusters:
        yield _clusters(report, style)
    found = report.contamination
    if found is not None and found.overlap_rows:
        told = f"{_many(found.overlap_rows)} also in {printable(found.against_path)}"
        yield _titled(f"{style.red('contamination')}: {told}", tuple(Place(where) for where in found.places), style)
    if report.outliers:
        bounds = report.outlier_bounds
        most = "any number of" if bounds.longest is None else f"{bounds.longest:,}"
        told = f"{_many(report.outlier_rows)} outside of {bounds.shortest:,} to {most} tokens"
        yield _titled(f"{style.yellow('outliers')}: {told}", report.outliers, style, most=2 * _FEW)
    if report.pii:
        yield _pii(report, style)


def _clusters(report: DataReport, style: Style) -> str:
    near = f"{report.near_duplicates:,} more at least {_percent(report.dup_threshold)} alike"
    told = f"{report.exact_duplicates:,} equal, {near}, in {report.duplicate_clusters:,} groups"
    lines = [f"{style.yellow('duplicates')}: {told}"]
    for cluster in report.clusters[:_FEW]:
        alike = "equal" if cluster.similarity == 1 else f"{cluster.similarity:.0%} alike"
        lines.append(f"  {cluster.rows:,} rows, {alike}: {', '.join(map(printable, cluster.places[:_FEW]))}")
    if report.boilerplate_excerpt:
        shown = f"“{printable(report.boilerplate_excerpt)}”"
        lines.append(
            style.dim(f"  Most rows have {report.boilerplate_share:.1%} of the text, which does not count: {shown}")
        )
    return "\n".join(lines)


def _pii(report: DataReport, style: Style) -> str:
    rows = [
        (
            (style.red if found.is_secret else style.yellow)(found.kind.value),
            f"{found.rows:,}",
            f"{found.count:,}",
            printable(found.places[0].where),
        )
        for found in report.pii
    ]
    title = style.bold("Personal data and secrets, which are not shown")
    return f"{title}\n{style.table(rows, header=('kind', 'rows', 'finds', 'first'), right=(1, 2), indent=2)}"


def _titled(title: str, places: Sequence[Place], style: Style, *, most: int = _FEW) -> str:
    return "\n".join((style.wrap(title), *(_place(place, style) for place in places[:most])))


def _place(place: Place, style: Style) -> str:
    detail = f"  {printable(place.detail)}" if place.detail else ""
    shown = f"  {style.dim(f'“{printable(place.excerpt)}”')}" if place.excerpt else ""
    return f"  {printable(place.where)}{detail}{shown}"


def _percent(limit: float) -> str:
    """A limit as it was set: 0.005 is 0.5%."""
    return f"{100 * limit:.6g}%"


def _many(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


def _counts(counts: Mapping[str, int]) -> str:
    told = [f"{name} {rows:,}" for name, rows in list(counts.items())[:_NAMES_SHOWN]]
    return ", ".join(told) + (", …" if len(counts) > _NAMES_SHOWN else "")
