"""What ``backprop data report`` says of a data set, made of what a scan counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from backprop.plan.data.check import CHECKS, Check, Finding
from backprop.plan.data.layout import Detection, Layout
from backprop.plan.data.lengths import (
    LONGEST_TOKENS,
    Bin,
    LengthBounds,
    LengthSummary,
    num_outside,
    ordinary_lengths,
    summarize_lengths,
)
from backprop.plan.data.pii import SECRETS, PiiKind
from backprop.plan.data.quality import Gates, Rate, RateCheck, Verdict, judge, share
from backprop.plan.data.quality_tally import WITHHELD, Place, QualityTally, Sized
from backprop.plan.data.tally import Limits, Tally, file_findings
from backprop.plan.decision import Problem, Severity, warning
from backprop.plan.redaction import redact

UNKNOWN = "unknown"
"""Where the name of a layout would stand, for rows in none that is known."""


@attrs.frozen
class Cluster:
    """Rows that are equal, or alike."""

    rows: int
    places: tuple[str, ...]
    """``file:line`` of the first of them."""
    similarity: float
    """Of the first row and the one most like it among those of another text; 1.0 where all are equal."""


@attrs.frozen
class DuplicateFacts:
    """What the scan for duplicates found; ``removable`` rows are all of a cluster but its first."""

    exact: int = 0
    removable: int = 0
    num_clusters: int = 0
    clusters: tuple[Cluster, ...] = ()
    """The largest."""
    boilerplate_share: float = 0.0
    boilerplate: str = ""


@attrs.frozen
class ContaminationFacts:
    """Rows that also stand in another data set, equal or alike."""

    against: str
    against_rows: int
    """Rows of it that could be read."""
    against_broken: int
    """The others, which nothing is compared with."""
    rows: int
    places: tuple[str, ...]


@attrs.frozen
class ScanFacts:
    """Everything that one scan found."""

    dataset: str
    tally: QualityTally
    detection: Detection
    layout: Layout | None
    """The layout that the rows were read by."""
    token_source: str
    """What counted the tokens."""
    dup_threshold: float
    duplicates: DuplicateFacts = DuplicateFacts()
    contamination: ContaminationFacts | None = None
    complete: bool = True
    """Every row was read; False when ``--max-samples`` ended it."""


@attrs.frozen
class ContaminationResult:
    """Rows that also stand in ``against_path``."""

    overlap_rows: int
    overlap_rate: float
    against_path: str
    against_rows: int
    """Rows of it that could be read."""
    against_broken: int
    """The others, which nothing was compared with."""
    places: tuple[str, ...]


@attrs.frozen
class CheckResult:
    """One check that rows failed."""

    check: Check
    severity: Severity
    rows: int
    rate: float
    meaning: str
    fix: str
    places: tuple[Place, ...]


@attrs.frozen
class PiiResult:
    """One kind of personal data or secret. Values are never part of a report."""

    kind: PiiKind
    is_secret: bool
    rows: int
    count: int
    places: tuple[Place, ...]


@attrs.frozen
class DataReport:
    """The quality of a data set. Rates are shares in [0, 1]: of the parsed rows, and where named so of all rows."""

    dataset: str
    verdict: Verdict
    failed_thresholds: tuple[str, ...]
    rates: tuple[RateCheck, ...]
    complete: bool
    total_rows: int
    parseable_rows: int
    """Rows that could be read as an example."""
    parse_errors: int
    """The others."""
    invalid_rows: int
    """Rows with an error, those among them."""
    invalid_rate: float
    """Of all rows. The one rate that may hang on the order of the rows: where the first ones tell another layout, other
    rows are invalid. With the layout given it does not."""
    format_detected: Layout | None
    format_confidence: float
    """The share of the first rows that are in it."""
    format: Layout | None
    """The layout that the rows were read by: the one asked for, else the one detected."""
    format_distribution: Mapping[str, int]
    """Rows by layout."""
    mixed_formats: bool
    checks: tuple[CheckResult, ...]
    exact_duplicates: int
    near_duplicates: int
    exact_duplicate_rate: float
    near_duplicate_rate: float
    """Of all duplicates, exact ones included: rows that could go."""
    duplicate_clusters: int
    dup_threshold: float
    clusters: tuple[Cluster, ...]
    boilerplate_share: float
    """Of the word triples of the distinct rows, those that most rows have and that therefore were not compared."""
    boilerplate_excerpt: str
    contamination: ContaminationResult | None
    empty_turn_rows: int
    no_assistant_rows: int
    empty_rate: float
    """Either of the two, of all rows."""
    outlier_rows: int
    outlier_rate: float
    outlier_bounds: LengthBounds
    outliers: tuple[Place, ...]
    token_source: str
    tokens: LengthSummary
    token_histogram: tuple[Bin, ...]
    think_rows: int
    think_pct: float
    """A share in [0, 1], like the rates."""
    traces: LengthSummary
    trace_histogram: tuple[Bin, ...]
    turns: Mapping[str, int]
    """Rows by turns of the user and the assistant."""
    scripts: Mapping[str, int]
    """Rows by the script of most of their letters."""
    pii_rows: int
    pii: tuple[PiiResult, ...]
    html: str | None = None
    """The page that was written."""


def make_report(facts: ScanFacts, gates: Gates) -> tuple[DataReport, tuple[Problem, ...]]:
    """The report, and the problem that it is: a tripped gate, or a data set without a row that can be read."""
    tally, found = facts.tally, facts.duplicates
    bounds = ordinary_lengths(tally.tokens, most=LONGEST_TOKENS)
    outliers = num_outside(tally.tokens, bounds)
    contamination = _contamination(facts)
    rates = {
        Rate.DUPLICATES: share(found.removable, tally.parsed),
        Rate.EMPTY: share(tally.nothing_rows, tally.rows),
        Rate.OUTLIERS: share(outliers, tally.parsed),
        Rate.INVALID: share(tally.error_rows, tally.rows),
    }
    if contamination is not None:
        rates[Rate.CONTAMINATION] = contamination.overlap_rate
    of_file = _of_file(facts)
    errors = [f"{fault.check.value}: {fault.message}" for fault in of_file if fault.severity is Severity.ERROR]
    judgement = judge(rates, gates, of_file=errors)
    tokens, traces = summarize_lengths(tally.tokens), summarize_lengths(tally.traces)
    report = DataReport(
        dataset=facts.dataset,
        verdict=judgement.verdict if tally.parsed else Verdict.FAIL,
        failed_thresholds=judgement.failed_thresholds if tally.parsed else ("no row can be read",),
        rates=judgement.rates,
        complete=facts.complete,
        total_rows=tally.rows,
        parseable_rows=tally.parsed,
        parse_errors=tally.rows - tally.parsed,
        invalid_rows=tally.error_rows,
        invalid_rate=rates[Rate.INVALID],
        format_detected=facts.detection.layout,
        format_confidence=round(facts.detection.confidence, 4),
        format=facts.layout,
        format_distribution=_layouts(tally),
        mixed_formats=sum(layout is not None for layout in tally.layouts) > 1,
        checks=_checks(facts, of_file),
        exact_duplicates=found.exact,
        near_duplicates=found.removable - found.exact,
        exact_duplicate_rate=share(found.exact, tally.parsed),
        near_duplicate_rate=rates[Rate.DUPLICATES],
        duplicate_clusters=found.num_clusters,
        dup_threshold=facts.dup_threshold,
        clusters=found.clusters,
        boilerplate_share=found.boilerplate_share,
        boilerplate_excerpt=redact(found.boilerplate),
        contamination=contamination,
        empty_turn_rows=tally.empty_rows,
        no_assistant_rows=tally.no_assistant_rows,
        empty_rate=rates[Rate.EMPTY],
        outlier_rows=outliers,
        outlier_rate=rates[Rate.OUTLIERS],
        outlier_bounds=bounds,
        outliers=_outliers(tally, bounds),
        token_source=facts.token_source,
        tokens=tokens,
        token_histogram=tokens.histogram,
        think_rows=tally.think_rows,
        think_pct=share(tally.think_rows, tally.parsed),
        traces=traces,
        trace_histogram=traces.histogram,
        turns={str(turns): rows for turns, rows in sorted(tally.turns.items())},
        scripts={s.value: rows for s, rows in sorted(tally.scripts.items(), key=lambda i: (-i[1], i[0].value))},
        pii_rows=tally.pii_rows,
        pii=_pii(tally),
    )
    return report, _problems(report, tripped=judgement.tripped)


def _problems(report: DataReport, *, tripped: bool) -> tuple[Problem, ...]:
    if not report.parseable_rows:
        message = f"No row of {report.dataset} can be read: {report.total_rows:,} were tried."
        first = report.checks[0].places[0] if report.checks else None
        hint = f"{first.where}: {first.detail or report.checks[0].fix}" if first else ""
        where = first.where if first else report.dataset
        return (Problem("INPUT_DATASET_VALIDATION_FAILED", message, where=where, hint=hint),)
    broken = next((check for check in report.checks if check.check is Check.ENCODING), None)
    if broken is not None:
        message = f"{report.dataset} has lines that are not UTF-8 text ({broken.rows:,} of them)."
        problem = Problem("INPUT_DATASET_PARSE_FAILED", message, where=broken.places[0].where, hint=broken.fix)
        return (problem,)
    if not tripped:
        return ()
    message = f"{report.dataset} is past its thresholds: {'; '.join(report.failed_thresholds)}."
    # A gate that tripped is what failed the command, whatever else is worth a warning.
    failed = sorted((check for check in report.rates if check.gate_tripped or check.limit is not None), key=_gravity)
    remedies = [*(check.remedy for check in failed), *(check.fix for check in report.checks)]
    return (Problem("INPUT_DATASET_REPORT_THRESHOLD", message, where=report.dataset, hint=remedies[0]),)


def _gravity(check: RateCheck) -> tuple[bool, bool]:
    """What failed the command comes first, then what fails by the thresholds, then warnings."""
    return not check.gate_tripped, check.verdict is not Verdict.FAIL


def report_warnings(report: DataReport) -> tuple[Problem, ...]:
    """What makes the report say less than it seems to."""
    found = report.contamination
    if found is None or not found.against_broken:
        return ()
    message = (
        f"{found.against_broken:,} of {found.against_rows + found.against_broken:,} rows of {found.against_path} "
        "cannot be read: whether the data holds them, too, is not known."
    )
    hint = f"Look at them with: backprop validate {found.against_path}"
    return (warning("INPUT_DATASET_INVALID", message, where="--against", hint=hint),)


def _contamination(facts: ScanFacts) -> ContaminationResult | None:
    found = facts.contamination
    if found is None:
        return None
    rate = share(found.rows, facts.tally.parsed)
    return ContaminationResult(
        overlap_rows=found.rows,
        overlap_rate=rate,
        against_path=found.against,
        against_rows=found.against_rows,
        against_broken=found.against_broken,
        places=found.places,
    )


def _layouts(tally: QualityTally) -> Mapping[str, int]:
    named = {layout.value if layout else UNKNOWN: rows for layout, rows in tally.layouts.items()}
    return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))


def _of_file(facts: ScanFacts) -> tuple[Finding, ...]:
    """What is wrong with the rows taken together."""
    others = _other_layouts(facts.tally, facts.layout)
    of_file = Tally(Limits(max_errors=1), labels=facts.tally.labels, layouts=others)
    return file_findings(of_file, facts.layout, name=facts.dataset)


def _other_layouts(tally: QualityTally, layout: Layout | None) -> Counter[Layout]:
    return Counter({other: rows for other, rows in tally.layouts.items() if other not in (None, layout)})


def _checks(facts: ScanFacts, of_file: tuple[Finding, ...]) -> tuple[CheckResult, ...]:
    """Errors first, then the most frequent."""
    tally = facts.tally
    failed = [(check, rows, tuple(tally.check_places.get(check, ()))) for check, rows in tally.checks.items()]
    of_file_rows = {
        Check.MIXED_LAYOUTS: _other_layouts(tally, facts.layout).total(),
        Check.ONE_SIDED_LABELS: tally.labels.total(),
    }
    failed += [
        (finding.check, of_file_rows[finding.check], (Place(finding.where, "", finding.message),))
        for finding in of_file
    ]
    results = [_check_result(check, rows, places, of=tally.rows) for check, rows, places in failed]
    return tuple(sorted(results, key=lambda r: (r.severity is not Severity.ERROR, -r.rows, r.check.value)))


def _check_result(check: Check, rows: int, places: tuple[Place, ...], *, of: int) -> CheckResult:
    entry = CHECKS[check]
    return CheckResult(check, entry.severity, rows, share(rows, of), entry.meaning, entry.fix, places)


def _outliers(tally: QualityTally, bounds: LengthBounds) -> tuple[Place, ...]:
    """The longest and the shortest that stand out, the longest first."""
    long = [sized for sized in tally.longest if bounds.longest is not None and sized.length > bounds.longest]
    short = [sized for sized in tally.shortest if sized.length < bounds.shortest]
    return tuple(_sized_place(sized) for sized in (*long, *short))


def _sized_place(sized: Sized) -> Place:
    told = f"{sized.length:,} tokens"
    return (
        Place(sized.where, "", f"{told} {WITHHELD}")
        if sized.excerpt is None
        else Place(sized.where, sized.excerpt, told)
    )


def _pii(tally: QualityTally) -> tuple[PiiResult, ...]:
    """Secrets first, then the most frequent."""
    results = [
        PiiResult(
            kind=kind,
            is_secret=kind in SECRETS,
            rows=rows,
            count=tally.pii[kind],
            places=tuple(tally.pii_places.get(kind, ())),
        )
        for kind, rows in tally.pii_rows_by_kind.items()
    ]
    return tuple(sorted(results, key=lambda r: (not r.is_secret, -r.rows, r.kind.value)))
