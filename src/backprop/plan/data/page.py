"""The report as one page of HTML that asks for nothing else: styles and charts stand in it, every text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from backprop.plan.data.charts import bar_chart
from backprop.plan.data.lengths import LONGEST_TOKENS, Bin, LengthSummary
from backprop.plan.data.quality import RateCheck, Verdict
from backprop.plan.data.quality_report import DataReport
from backprop.plan.data.quality_tally import Place
from backprop.plan.decision import Severity

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--dim:#60646c;--page:#fcfcfd;--card:#fff;--line:#d9d9e0;--bar:#4c7ecf;
--pass:#18794e;--warn:#8a5a00;--fail:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--dim:#b0b4ba;--page:#111113;--card:#18191b;--line:#363a3f;
--bar:#6e9ee8;--pass:#3dd68c;--warn:#ffca16;--fail:#ff9592}}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:0}
h2{font-size:1.1rem;margin:2.2rem 0 .5rem}
p{margin:.3rem 0}.dim{color:var(--dim)}.PASS{color:var(--pass)}.WARN{color:var(--warn)}.FAIL{color:var(--fail)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;background:var(--card)}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
th{font-weight:600;color:var(--dim)}td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code{font:.9em ui-monospace,monospace}svg{max-width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--ink);dominant-baseline:central}svg .l{text-anchor:end;fill:var(--dim)}svg rect{fill:var(--bar)}
ul{margin:.2rem 0;padding-left:1.2rem}
""".strip()


def quality_page(report: DataReport) -> str:
    """The whole page."""
    title = f"{report.verdict.value}: {_name(report.dataset)}"
    # Nothing may be asked for, whatever stands in the data: not even a browser's favourite icon.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    )
    body = "\n".join(part for part in _parts(report) if part)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _parts(report: DataReport) -> Iterator[str]:
    yield _heading(report)
    yield _section("Rates", _rates(report.rates))
    yield _section("Checks that rows failed", _checks(report))
    yield _section("Duplicates", _duplicates(report))
    yield _section("Contamination", _contamination(report))
    yield _section("Length in tokens", _lengths(report.tokens, report.token_source))
    yield _section("Rows of an extraordinary length", _outliers(report))
    yield _section("Reasoning", _reasoning(report))
    yield _section("Turns", bar_chart([(_turns(t), rows) for t, rows in report.turns.items()][:20], title="turns"))
    yield _section("Layouts", bar_chart(list(report.format_distribution.items()), title="layouts"))
    yield _section("Scripts", bar_chart(list(report.scripts.items()), title="scripts"))
    yield _section("Personal data and secrets", _pii(report))


def _heading(report: DataReport) -> str:
    rows = f"{report.total_rows:,} rows, {report.parseable_rows:,} of them read"
    rows += "" if report.complete else " (not the whole data set: --max-samples)"
    told = report.format_detected.value if report.format_detected else "in no layout that is known"
    read_as = f", read as {report.format.value}" if report.format not in (None, report.format_detected) else ""
    failed = "".join(f"<li>{escape(reason)}</li>" for reason in report.failed_thresholds)
    return (
        f'<h1><span class="{report.verdict.value}">{report.verdict.value}</span> {escape(_name(report.dataset))}</h1>'
        f'<p class="dim"><code>{escape(report.dataset)}</code></p>'
        f"<p>{escape(rows)}. Layout: {escape(told)} ({report.format_confidence:.0%} of the first rows){read_as}.</p>"
        + (f'<ul class="FAIL">{failed}</ul>' if failed else "")
    )


def _rates(rates: Sequence[RateCheck]) -> str:
    body = []
    for check in rates:
        verdict = Verdict.FAIL if check.gate_tripped else check.verdict
        value = "not asked for" if check.value is None else f"{check.value:.2%}"
        gate = "" if check.gate is None else f"{check.gate:.2%}"
        told = f'<span class="{verdict.value}">{verdict.value}</span>' if verdict is not None else ""
        remedy = "" if verdict in (None, Verdict.PASS) else check.remedy
        body.append((escape(check.rate.value), value, gate, told, escape(remedy)))
    return _table(("rate", "of the rows", "your limit", "", ""), body, right=(1, 2))


def _checks(report: DataReport) -> str:
    body = []
    for check in report.checks:
        colour = "FAIL" if check.severity is Severity.ERROR else "WARN"
        name = f'<span class="{colour}">{escape(check.check.value)}</span>'
        about = f"{escape(check.meaning)} <span class='dim'>{escape(check.fix)}</span>{_places(check.places)}"
        body.append((name, f"{check.rows:,}", f"{check.rate:.2%}", about))
    return _table(("check", "rows", "of all", "first places"), body, right=(1, 2))


def _duplicates(report: DataReport) -> str:
    told = (
        f"<p>{report.exact_duplicates:,} rows repeat an earlier one, {report.near_duplicates:,} more are at least "
        f"{report.dup_threshold:.0%} alike: {report.near_duplicate_rate:.2%} of the rows could go. "
        f"{report.duplicate_clusters:,} groups in all.</p>"
    )
    if report.boilerplate_share:
        shown = f": “{escape(report.boilerplate_excerpt)}”" if report.boilerplate_excerpt else ""
        told += (
            f'<p class="dim">Left out, since most rows have it: {report.boilerplate_share:.1%} of the text{shown}</p>'
        )
    body = [
        (
            f"{cluster.rows:,}",
            f"{cluster.similarity:.0%}",
            "<br>".join(f"<code>{escape(p)}</code>" for p in cluster.places),
        )
        for cluster in report.clusters
    ]
    return told + _table(("rows", "alike", "the largest groups"), body, right=(0, 1))


def _contamination(report: DataReport) -> str:
    found = report.contamination
    if found is None:
        return ""
    told = f"{found.overlap_rows:,} rows ({found.overlap_rate:.2%}) also stand in"
    places = _places(tuple(Place(where) for where in found.places))
    broken = f", {found.against_broken:,} more of which cannot be read" if found.against_broken else ""
    return f"<p>{told} <code>{escape(found.against_path)}</code>, of {found.against_rows:,} rows{broken}.</p>{places}"


def _lengths(lengths: LengthSummary, source: str) -> str:
    told = (
        f"{lengths.total:,} in all; a row has {lengths.mean:,.1f} on average, median {lengths.p50:,}, "
        f"90 % up to {lengths.p90:,}, 99 % up to {lengths.p99:,}, from {lengths.shortest:,} to {lengths.longest:,}."
    )
    chart = bar_chart(bin_bars(lengths.histogram), title="length in tokens")
    return f'<p>{told}</p><p class="dim">{escape(source)}</p>{chart}'


def _outliers(report: DataReport) -> str:
    bounds = report.outlier_bounds
    most = "any length" if bounds.longest is None else f"{bounds.longest:,}"
    told = (
        f"{report.outlier_rows:,} rows ({report.outlier_rate:.2%}) are not within {bounds.shortest:,} to {most} tokens"
    )
    return f'<p>{told}.</p><p class="dim">{escape(bounds.rule)}</p>{_places(report.outliers)}'


def _reasoning(report: DataReport) -> str:
    if not report.think_rows:
        return ""
    return f"<p>{report.think_rows:,} rows ({report.think_pct:.2%}) reason.</p>" + _lengths(
        report.traces, report.token_source
    )


def _pii(report: DataReport) -> str:
    if not report.pii:
        return "<p>None of the kinds that are looked for.</p>"
    body = []
    for found in report.pii:
        name = f'<span class="FAIL">{escape(found.kind.value)}</span>' if found.is_secret else escape(found.kind.value)
        body.append((name, f"{found.rows:,}", f"{found.count:,}", _places(found.places)))
    note = '<p class="dim">Only counts and places: the values are never shown.</p>'
    return note + _table(("kind", "rows", "finds", "first places"), body, right=(1, 2))


def bin_bars(bins: Sequence[Bin]) -> list[tuple[str, int]]:
    """Labels and counts of a histogram, such as ``65 to 128``."""
    bars, last = [], 0
    if bins and bins[0].up_to is not None:
        last = bins[0].up_to // 2
    for number, bin in enumerate(bins):
        if bin.up_to is None:
            label = f"above {last or LONGEST_TOKENS:,}"
        else:
            label = f"up to {bin.up_to:,}" if number == 0 and bin.up_to <= 16 else f"{last + 1:,} to {bin.up_to:,}"
            last = bin.up_to
        bars.append((label, bin.rows))
    return bars


def _turns(turns: str) -> str:
    return f"{turns} turn" if turns == "1" else f"{turns} turns"


def _places(places: Sequence[Place]) -> str:
    items = []
    for place in places:
        detail = f" {escape(place.detail)}" if place.detail else ""
        shown = f' <span class="dim">“{escape(place.excerpt)}”</span>' if place.excerpt else ""
        items.append(f"<li><code>{escape(place.where)}</code>{detail}{shown}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}" if content else ""


def _table(header: Sequence[str], body: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Cells are HTML already."""
    if not body:
        return ""
    kind = dict.fromkeys(right, ' class="n"')
    head = "".join(f"<th{kind.get(i, '')}>{escape(cell)}</th>" for i, cell in enumerate(header))
    rows = "".join(
        "<tr>" + "".join(f"<td{kind.get(i, '')}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in body
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _name(dataset: str) -> str:
    return dataset.rstrip("/").rsplit("/", 1)[-1]
