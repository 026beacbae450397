"""Laws of the quality report: rates, tallies, lengths, verdicts, personal data."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.effects.processes.together import working_together

from backprop.effects.files.rows import blocks_of
from backprop.effects.probe import duplicates, quality_scan, set_files
from backprop.effects.probe.quality_scan import Scan, scan_quality
from backprop.effects.processes.forked import in_processes
from backprop.plan.data.layout import ROWS_TO_TELL, Layout
from backprop.plan.data.lengths import histogram, num_outside, ordinary_lengths, summarize_lengths
from backprop.plan.data.pii import find_pii
from backprop.plan.data.quality import Gates, Rate, Verdict, judge
from backprop.plan.data.quality_report import DataReport, make_report
from backprop.plan.data.scripts import main_script
from backprop.plan.wire.converter import canonical_json
from backprop.plan.wire.plain import plain_data

CONTENTS = st.one_of(
    st.sampled_from(["", " ", "yes", "the same long answer to every one of the questions", "<think>hm</think> ok"]),
    st.sampled_from(["ann@example.org", "sk-abc123abc123abc123", "Привет", "日本語", "<|im_start|>", "\x07"]),
    st.text(max_size=40),
    st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon"]), max_size=12).map(" ".join),
)
CHATS = st.builds(
    lambda asked, answered: {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    },
    CONTENTS,
    CONTENTS,
)
ALPACAS = st.builds(lambda text: {"instruction": text, "output": text}, CONTENTS)
ODD_ROWS = st.one_of(
    st.sampled_from([{"foo": 1}, [], 3, {"messages": []}, {"messages": [{"role": "user", "content": "?"}]}]),
    ALPACAS,
)
_FIRST: Any = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}
ROWS = st.lists(st.one_of(CHATS, CHATS, ODD_ROWS), max_size=30).map(lambda rows: [_FIRST, *rows])
COUNTS = st.dictionaries(st.integers(0, 100_000), st.integers(1, 500), max_size=30)
SHARES = st.floats(0, 1)
ORDERLESS = ("clusters", "outliers", "pii", "checks", "contamination", "boilerplate_excerpt", "dataset")
OF_THE_FIRST_ROWS = ("format_detected", "format_confidence", "format")
OF_THE_LAYOUT = ("invalid_rows", "invalid_rate", "rates", "verdict", "checks", "format_distribution", "mixed_formats")
"""What also hangs on the order when the first rows tell another layout: rows of the others are invalid."""


def report_of(rows: list[Any], *, processes: int = 1, itself: bool = False, threshold: float = 0.9) -> DataReport:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        against = (path,) if itself else ()
        scan = Scan((path,), "rows", None, "text", threshold, against, "rows", num_processes=processes)
        facts = scan_quality(scan, tell=lambda _: None)
        report, _ = make_report(attrs.evolve(facts, dataset="rows"), Gates())
        return report


def without_order(report: DataReport) -> dict[str, Any]:
    kept = {f.name: getattr(report, f.name) for f in attrs.fields(DataReport) if f.name not in ORDERLESS}
    return {
        **kept,
        "checks": {check.check: check.rows for check in report.checks},
        "pii": {found.kind: (found.rows, found.count) for found in report.pii},
        "clusters": Counter(cluster.rows for cluster in report.clusters),
    }


@given(ROWS)
@settings(max_examples=40, deadline=None)
def test_rates_lie_between_nothing_and_all_and_sums_agree(rows: list[Any]) -> None:
    report = report_of(rows)
    assert report.total_rows == len(rows) == report.parseable_rows + report.parse_errors
    shares = [check.value for check in report.rates if check.value is not None]
    shares += [report.think_pct, report.exact_duplicate_rate, report.boilerplate_share, report.format_confidence]
    shares += [check.rate for check in report.checks]
    assert all(0 <= share <= 1 for share in shares)
    assert sum(report.format_distribution.values()) == len(rows)
    assert sum(bin.rows for bin in report.token_histogram) == report.tokens.rows == report.parseable_rows
    assert sum(report.scripts.values()) == sum(report.turns.values()) == report.parseable_rows
    assert report.exact_duplicates + report.near_duplicates == round(report.near_duplicate_rate * report.parseable_rows)
    assert report.invalid_rows >= report.parse_errors
    assert max(report.empty_turn_rows, report.no_assistant_rows) <= report.empty_rate * len(rows) + 1e-9
    json.loads(canonical_json(plain_data(report)))


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_rows_changes_no_rate(rows: list[Any], chance: random.Random) -> None:
    shuffled = [_FIRST, *chance.sample(rows[1:], len(rows) - 1)]
    before, after = without_order(report_of(rows)), without_order(report_of(shuffled))
    names = OF_THE_FIRST_ROWS if before["format"] is after["format"] else (*OF_THE_FIRST_ROWS, *OF_THE_LAYOUT)
    for name in names:
        before.pop(name), after.pop(name)
    assert before == after


@given(st.lists(CHATS, min_size=1, max_size=4), st.lists(ALPACAS, min_size=1, max_size=4))
@example([_FIRST], [{"instruction": "", "output": ""}])
@settings(max_examples=10, deadline=None)
def test_where_the_first_rows_tell_another_layout_only_validity_changes(chats: list[Any], others: list[Any]) -> None:
    chats, others = chats * ROWS_TO_TELL, others * ROWS_TO_TELL
    one, another = report_of([*chats, *others]), report_of([*others, *chats])
    assert (one.format, another.format) == (Layout.OPENAI, Layout.ALPACA)
    kept, other = without_order(one), without_order(another)
    for name in (*OF_THE_FIRST_ROWS, *OF_THE_LAYOUT):
        kept.pop(name), other.pop(name)
    assert kept == other


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_a_data_set_against_itself_is_contaminated_whole(rows: list[Any]) -> None:
    found = report_of(rows, itself=True).contamination
    assert found is not None
    assert found.overlap_rate == 1


@given(st.lists(CHATS, min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_repeating_a_data_set_makes_of_all_but_one_of_each_row_a_duplicate(rows: list[Any], times: int) -> None:
    once, often = report_of(rows), report_of(rows * times)
    kept = once.parseable_rows - once.exact_duplicates
    assert often.parseable_rows - often.exact_duplicates == kept


@given(ROWS, SHARES, SHARES)
@settings(max_examples=15, deadline=None)
def test_a_higher_threshold_finds_no_more_duplicates(rows: list[Any], one: float, other: float) -> None:
    low, high = sorted((max(one, 0.05), max(other, 0.05)))
    assert report_of(rows, threshold=low).near_duplicate_rate >= report_of(rows, threshold=high).near_duplicate_rate


@given(COUNTS)
def test_summaries_agree_with_the_lengths_written_out(counts: dict[int, int]) -> None:
    summary = summarize_lengths(counts)
    lengths = sorted(Counter(counts).elements())
    assert summary.rows == len(lengths) == sum(bin.rows for bin in histogram(counts))
    assert summary.total == sum(lengths)
    if lengths:
        assert (summary.shortest, summary.longest) == (lengths[0], lengths[-1])
        assert summary.shortest <= summary.p50 <= summary.p90 <= summary.p99 <= summary.longest
        assert summary.p50 == lengths[math.ceil(len(lengths) / 2) - 1]


@given(COUNTS, st.integers(2, 9))
def test_outliers_do_not_hang_on_how_often_everything_stands(counts: dict[int, int], times: int) -> None:
    bounds, more = ordinary_lengths(counts), ordinary_lengths({k: v * times for k, v in counts.items()})
    assert (bounds.shortest, bounds.longest) == (more.shortest, more.longest)


@given(COUNTS)
def test_fewer_than_a_ninth_are_beyond_three_sigma(counts: dict[int, int]) -> None:
    outside = num_outside(counts, ordinary_lengths(counts))
    assert outside <= sum(counts.values()) / 9  # Chebyshev


@given(st.fixed_dictionaries(dict.fromkeys(Rate, SHARES)), st.booleans(), SHARES, SHARES)
def test_a_verdict_only_gets_worse(rates: dict[Rate, float], strict: bool, gate: float, more: float) -> None:
    order = list(Verdict)
    free, gated = judge(rates, Gates()), judge(rates, Gates(gate, gate, gate, strict))
    assert order.index(gated.verdict) >= order.index(free.verdict)
    worse = judge({rate: max(value, more) for rate, value in rates.items()}, Gates(gate, gate, gate, strict))
    assert order.index(worse.verdict) >= order.index(gated.verdict)
    assert worse.tripped >= gated.tripped
    assert bool(gated.failed_thresholds) == (gated.verdict is Verdict.FAIL)


PIECES = st.sampled_from(
    [
        *("ann@example.org", "+49 30 1234567", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "10.0.0.1", "sk-"),
        *(
            "hf_abcdefghijKLmnop1234",
            " ",
            "\n",
            "word",
            "語",
            "é",
            ".",
            "-",
            "@",
            "+",
            "(",
            "eyJ",
            "AKIA",
            "-----BEGIN ",
        ),
        "1",
    ]
)


PERSONAL = st.lists(PIECES, max_size=4).map("".join)
ANY_VALUES = st.recursive(
    PERSONAL | st.sampled_from([4111111111111111, None, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PERSONAL, inner, max_size=3),
    max_leaves=6,
)
PERSONAL_ROWS = st.one_of(
    ANY_VALUES,
    st.builds(lambda role, text: {"messages": [{"role": role, "content": text}]}, PERSONAL, PERSONAL),
    st.builds(lambda text, more: {"instruction": text, "output": "", "by": more}, PERSONAL, ANY_VALUES),
)


@given(st.lists(PERSONAL_ROWS, max_size=12))
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_shown_of_a_row_is_personal(rows: list[Any]) -> None:
    report = report_of([_FIRST, *rows])
    places = [*report.outliers, *(place for check in report.checks for place in check.places)]
    for shown in (report.boilerplate_excerpt, *(text for place in places for text in (place.excerpt, place.detail))):
        assert not find_pii(shown)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_finds_are_in_order_and_apart(text: str) -> None:
    spans = find_pii(text)
    for before, after in pairwise(spans):
        assert before.stop <= after.start
    assert all(0 <= span.start < span.stop <= len(text) for span in spans)


@given(st.lists(PIECES).map("".join), st.text(alphabet="abc xyz,;\n", max_size=20))
def test_words_around_a_text_hide_nothing_in_it(text: str, words: str) -> None:
    assert len(find_pii(f"{words} \n{text}\n {words}")) >= len(find_pii(text))


@given(st.text(max_size=200), st.randoms(use_true_random=False))
def test_a_script_does_not_hang_on_the_order_of_letters(text: str, chance: random.Random) -> None:
    assert main_script("".join(chance.sample(text, len(text)))) is main_script(text)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(CHATS, ODD_ROWS), min_size=10, max_size=60), st.integers(2, 4))
def test_processes_change_nothing(rows: list[Any], processes: int) -> None:
    rows = [_FIRST, *rows]
    compared: list[int] = []

    def counted(work: Callable[[int], object], num_processes: int) -> list[object]:
        compared.append(num_processes)
        return in_processes(work, num_processes)

    alone = report_of(rows, itself=True)
    with (
        patch.object(quality_scan, "blocks_of", partial(blocks_of, block_bytes=200)),
        patch.object(quality_scan, "_BATCH_ROWS", 3),
        patch.object(duplicates, "_FEW", 0),
        patch.object(set_files, "in_processes", counted),
        working_together(quality_scan) as helpers,
    ):
        shared = report_of(rows, processes=processes, itself=True)
    assert len(helpers) > 1
    assert set(compared) == {processes}
    assert without_order(shared) == without_order(alone)
