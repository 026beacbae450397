"""The scan of a data set: the same whatever the order, the blocks and the processes."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from backprop.effects.files.rows import blocks_of
from backprop.effects.probe import duplicates, quality_scan, set_files
from backprop.effects.probe.quality_scan import Scan, scan_quality
from backprop.effects.probe.row_quality import RowMeter, Tokens
from backprop.effects.processes.forked import in_processes
from backprop.plan.data.check import Check
from backprop.plan.data.layout import Layout
from backprop.plan.data.page import quality_page
from backprop.plan.data.pii import PiiKind, find_pii
from backprop.plan.data.quality import Gates
from backprop.plan.data.quality_report import DataReport, ScanFacts, make_report, report_warnings
from backprop.plan.data.quality_tally import MOST_PLACES, WITHHELD
from backprop.plan.decision import Severity
from backprop.plan.errors import BackpropError
from tests.effects.processes.together import working_together
from tests.tiny import make_tiny_model

SECRET = "hf_abcdefghijKLmnop1234"


def chat(asked: str, answered: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


def words(number: int, *, count: int = 30) -> str:
    chance = random.Random(number)
    return " ".join(f"word{chance.randrange(5000)}" for _ in range(count))


def varied() -> list[Any]:
    """Rows of every sort."""
    rows: list[Any] = [chat(words(i), words(1000 + i)) for i in range(60)]
    rows += [chat(words(i), words(1000 + i)) for i in range(7)]
    rows += [chat(words(i, count=40), words(1000 + i, count=40) + " new") for i in range(100, 104)] * 2
    rows += [chat("short", ""), chat("", "answer to nothing"), {"messages": [{"role": "user", "content": "alone"}]}]
    rows += [
        chat("mail me: ann@example.org", f"my token is {SECRET}"),
        {"foo": 1},
        chat("long", words(5, count=20_000)),
    ]
    rows += [chat("think", "<think>one two three</think>done"), chat("Привет", "Как дела?")]
    return rows


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def scanned(*paths: Path, **changes: Any) -> ScanFacts:
    scan = Scan(paths=paths, name="rows", layout=None, text_column="text", dup_threshold=0.9, num_processes=1)
    return scan_quality(attrs.evolve(scan, **changes), tell=lambda _: None)


def reported(facts: ScanFacts) -> DataReport:
    return make_report(facts, Gates())[0]


def rates(report: DataReport) -> dict[str, Any]:
    """What the order of the rows does not touch."""
    places = ("clusters", "outliers", "pii", "checks", "contamination", "dataset", "boilerplate_excerpt")
    counts = {check.check: check.rows for check in report.checks}
    pii = {found.kind: (found.rows, found.count) for found in report.pii}
    sizes = sorted(cluster.rows for cluster in report.clusters)
    kept = {f.name: getattr(report, f.name) for f in attrs.fields(DataReport) if f.name not in places}
    return {**kept, "checks": counts, "pii": pii, "sizes": sizes}


def test_everything_is_counted(tmp_path: Path) -> None:
    report = reported(scanned(written(tmp_path / "rows.jsonl", varied())))
    assert (report.total_rows, report.parseable_rows, report.parse_errors) == (83, 82, 1)
    assert report.exact_duplicates == 11
    assert report.duplicate_clusters == 11
    assert (report.empty_turn_rows, report.no_assistant_rows, report.think_rows) == (2, 1, 1)
    assert report.traces.p50 == 4
    assert report.turns == {"1": 1, "2": 81}
    assert report.scripts == {"Latin": 81, "Cyrillic": 1}
    assert {found.kind: found.count for found in report.pii} == {PiiKind.EMAIL: 1, PiiKind.HUGGING_FACE_TOKEN: 1}
    assert report.outliers[0].where.endswith(":81")
    assert report.format_detected is Layout.OPENAI


def test_rows_that_hold_secrets_are_not_quoted_anywhere(tmp_path: Path) -> None:
    rows = [chat(SECRET, ""), chat(f"{SECRET} {words(1, count=9000)}", "x"), {"text": f"ann@example.org {SECRET}"}]
    rows += [chat(words(i), words(i + 500)) for i in range(50)]
    path = written(tmp_path / "rows.jsonl", rows)
    with path.open("a", encoding="utf-8") as file:
        file.write(f'{{"messages": [{{"role": "{SECRET}", "content": ""}}]}}\n{{{SECRET}\n')
    shown = repr(reported(scanned(path)))
    assert "hf_" not in shown
    assert "ann@" not in shown
    assert "rows.jsonl:55" in shown


@pytest.mark.parametrize(
    "row",
    [
        {"text": "hello", "author": "ann@example.org"},
        {"text": "y" * 25, "author": "ann.of.the.harbour@example.org"},  # an excerpt ends within the address
        {"instruction": "a", "output": "b", SECRET: 1},
        {"instruction": "a", "card": 4111111111111111, "output": "b"},
        {"messages": [], "by": "call\n+49 30 1234567"},
        {"messages": [{"role": "ann@example.org", "content": "x"}]},
        {"foo": {"bar": ["x", {"ann@example.org": 1}]}},
        chat("4111\n1111\n1111\n1111", ""),
    ],
)
def test_what_is_no_text_of_a_row_is_not_quoted_either_where_it_is_personal(tmp_path: Path, row: Any) -> None:
    rows = [*[chat(words(i), words(i + 500)) for i in range(25)], row]
    report = reported(scanned(written(tmp_path / "rows.jsonl", rows)))
    (place,) = [place for check in report.checks if check.check is not Check.MIXED_LAYOUTS for place in check.places]
    assert (place.excerpt, place.detail) == ("", WITHHELD)


def test_what_most_rows_share_is_not_shown_where_it_is_personal(tmp_path: Path) -> None:
    # Texts are compared with ASCII digits in place of those of full width.
    shared = "call the number \uff0b49 30 1234567 of our shop at any time of the day".replace("1", "\uff11")
    rows = [chat(f"{shared}: {words(i, count=8)}", words(i + 99, count=5)) for i in range(60)]
    report = reported(scanned(written(tmp_path / "rows.jsonl", rows), dup_threshold=0.4))
    assert report.boilerplate_share > 0.3
    assert not find_pii(report.boilerplate_excerpt)


def test_rows_of_one_line_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = [chat("same question", "same answer"), chat("a", ""), {"messages": 3}, chat("b", "")]
    path.write_text(json.dumps([*rows, rows[0]]), "utf-8")
    report = reported(scanned(path))
    (blank,) = [check for check in report.checks if check.check is Check.EMPTY_ASSISTANT]
    assert [place.where for place in blank.places] == [f"{path}:1 (row 2)", f"{path}:1 (row 4)"]
    assert report.clusters[0].places == (f"{path}:1 (row 1)", f"{path}:1 (row 5)")


@pytest.mark.parametrize("processes", [2, 3])
def test_neither_processes_nor_blocks_change_what_is_found(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "rows.jsonl", varied())
    whole = reported(scanned(path, against=(path,), against_name="rows"))
    monkeypatch.setattr(quality_scan, "blocks_of", partial(blocks_of, block_bytes=3000))
    monkeypatch.setattr(quality_scan, "_BATCH_ROWS", 7)
    monkeypatch.setattr(duplicates, "_FEW", 0)
    compared: list[int] = []

    def counted(work: Callable[[int], object], num_processes: int) -> list[object]:
        compared.append(num_processes)
        return in_processes(work, num_processes)

    monkeypatch.setattr(set_files, "in_processes", counted)
    with working_together(quality_scan) as helpers:
        shared = reported(scanned(path, against=(path,), against_name="rows", num_processes=processes))
    assert len(helpers) > 1
    assert set(compared) == {processes}
    assert shared == whole


def test_the_order_of_the_rows_may_tell_another_layout_and_then_other_rows_are_invalid(tmp_path: Path) -> None:
    chats = [chat(words(i), "yes") for i in range(30)]
    others = [*({"instruction": words(i), "output": "no"} for i in range(20)), {"instruction": words(20), "output": ""}]
    before = reported(scanned(written(tmp_path / "a.jsonl", [*chats, *others])))
    after = reported(scanned(written(tmp_path / "b.jsonl", [*others, *chats])))
    assert (before.format, before.invalid_rows) == (Layout.OPENAI, 21)
    assert (after.format, after.invalid_rows) == (Layout.ALPACA, 31)
    assert (before.parseable_rows, before.tokens, before.turns) == (after.parseable_rows, after.tokens, after.turns)
    assert before.empty_turn_rows == after.empty_turn_rows == 1


@pytest.mark.parametrize("seed", range(3))
def test_shuffling_the_rows_changes_no_rate(tmp_path: Path, seed: int) -> None:
    rows = varied()
    before = reported(scanned(written(tmp_path / "a.jsonl", rows), layout=Layout.OPENAI))
    random.Random(seed).shuffle(rows)
    after = reported(scanned(written(tmp_path / "b.jsonl", rows), layout=Layout.OPENAI))
    ignored = ("format_confidence", "format_detected")  # told from the first rows
    assert {k: v for k, v in rates(before).items() if k not in ignored} == {
        k: v for k, v in rates(after).items() if k not in ignored
    }


def test_a_file_against_itself_is_contaminated_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", varied())
    found = reported(scanned(path, against=(path,), against_name="rows")).contamination
    assert found is not None
    assert (found.overlap_rate, found.overlap_rows, found.against_rows) == (1.0, 82, 82)


def test_only_rows_that_stand_in_both_are_contamination(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [chat(words(i), words(i + 500)) for i in range(40)])
    other = written(tmp_path / "held.jsonl", [chat(words(i), words(i + 500)) for i in range(35, 60)])
    found = reported(scanned(path, against=(other,), against_name="held")).contamination
    assert found is not None
    assert (found.overlap_rows, found.against_rows) == (5, 25)
    assert found.places == tuple(f"{path}:{line}" for line in range(36, 41))


def test_the_layout_of_the_other_data_set_is_told_from_itself(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [chat(words(i), words(i + 500)) for i in range(9)])
    held = [{"instruction": words(i), "output": words(i + 500)} for i in range(6, 12)]
    other = written(tmp_path / "held.jsonl", held)
    for layout in (None, Layout.OPENAI):
        found = reported(scanned(path, against=(other,), against_name="held", layout=layout)).contamination
        assert found is not None
        assert (found.overlap_rows, found.against_rows, found.against_broken) == (3, 6, 0)


def test_rows_of_the_other_data_set_that_cannot_be_read_are_counted_and_warned_of(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [chat("a", "b")])
    other = written(tmp_path / "held.jsonl", [chat("c", "d"), {"foo": 1}, 7, {"messages": 3}])
    report = reported(scanned(path, against=(other,), against_name="held.jsonl"))
    assert report.contamination is not None
    assert (report.contamination.against_rows, report.contamination.against_broken) == (1, 3)
    (told,) = report_warnings(report)
    assert told.severity is Severity.WARNING
    assert "3 of 4 rows of held.jsonl" in told.message
    assert "3 more of which" in quality_page(report)
    assert not report_warnings(reported(scanned(path, against=(path,), against_name="rows.jsonl")))


def test_another_data_set_without_a_row_to_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [chat("a", "b")])
    other = written(tmp_path / "held.jsonl", [{"foo": 1}, 7])
    with pytest.raises(BackpropError) as refused:
        scanned(path, against=(other,), against_name="held.jsonl")
    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("INPUT_DATASET_INVALID", "--against")
    assert "held.jsonl" in problem.message


def test_kinds_of_files_give_the_same_rates(tmp_path: Path) -> None:
    rows = [row for row in varied() if row != {"foo": 1}]
    plain = rates(reported(scanned(written(tmp_path / "rows.jsonl", rows))))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write((tmp_path / "rows.jsonl").read_text(encoding="utf-8"))
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    assert rates(reported(scanned(tmp_path / "rows.jsonl.gz"))) == plain
    assert rates(reported(scanned(tmp_path / "rows.json"))) == plain


def test_files_of_one_data_set_are_one(tmp_path: Path) -> None:
    rows = varied()
    whole = reported(scanned(written(tmp_path / "whole.jsonl", rows)))
    parts = [written(tmp_path / f"{i}.jsonl", rows[i::2]) for i in range(2)]
    both = reported(scanned(*parts))
    assert both.near_duplicate_rate == whole.near_duplicate_rate
    assert both.tokens == whole.tokens
    assert {place.split(":")[0] for cluster in both.clusters for place in cluster.places} == set(map(str, parts))


@pytest.mark.parametrize("asked", [1, 50, 83, 84])
def test_no_more_rows_are_read_than_were_asked_for(tmp_path: Path, asked: int) -> None:
    rows = varied()
    some = scanned(written(tmp_path / "rows.jsonl", rows), max_rows=asked)
    first = scanned(written(tmp_path / "first.jsonl", rows[:asked]))
    assert rates(attrs.evolve(reported(some), complete=True)) == rates(reported(first))
    assert some.complete == (asked >= 83)


def test_rows_of_another_layout_are_errors_and_are_measured_all_the_same(tmp_path: Path) -> None:
    rows = [chat(words(i), "yes") for i in range(30)] + [{"instruction": words(1), "output": "yes"}] * 2
    report = reported(scanned(written(tmp_path / "rows.jsonl", rows)))
    assert report.mixed_formats
    assert report.format_distribution == {"openai": 30, "alpaca": 2}
    assert (report.parseable_rows, report.invalid_rows, report.exact_duplicates) == (32, 2, 2)
    assert {check.check: check.rows for check in report.checks} == {Check.LAYOUT: 2, Check.MIXED_LAYOUTS: 2}


def test_labels_that_are_all_equal_are_a_finding(tmp_path: Path) -> None:
    rows = [{"prompt": words(i), "completion": words(i + 1), "label": True} for i in range(3)]
    report = reported(scanned(written(tmp_path / "rows.jsonl", rows)))
    assert [(check.check, check.rows) for check in report.checks] == [(Check.ONE_SIDED_LABELS, 3)]


def test_what_most_rows_share_makes_no_duplicates_and_is_shown(tmp_path: Path) -> None:
    shared = "Answer the question of the customer of our shop in two short and friendly sentences"
    rows = [chat(f"{shared}: {words(i, count=8)}", words(i + 99, count=5)) for i in range(60)]
    report = reported(scanned(written(tmp_path / "rows.jsonl", rows), dup_threshold=0.4))
    assert report.near_duplicate_rate == 0
    assert report.boilerplate_share > 0.3
    assert report.boilerplate_excerpt.startswith("answer the question")


def test_a_model_counts_what_training_would(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    path = written(tmp_path / "rows.jsonl", [chat("one", "<think>a</think>two"), chat("one " * 50, "two")])
    meter = RowMeter(Tokens("model", str(model), None))
    counted, estimated = reported(scanned(path, meter=meter)), reported(scanned(path))
    assert counted.token_source == "tokenizer of model"
    assert estimated.token_source.startswith("estimate")
    assert counted.tokens.rows == estimated.tokens.rows == 2
    assert counted.tokens != estimated.tokens
    assert counted.traces.rows == 1


def test_places_are_few_however_many_rows_there_are(tmp_path: Path) -> None:
    report = reported(scanned(written(tmp_path / "rows.jsonl", [chat(words(i), "") for i in range(100)])))
    (check,) = report.checks
    assert check.rows == 100
    assert [place.where for place in check.places] == [f"{tmp_path / 'rows.jsonl'}:{n}" for n in range(1, 6)]
    assert len(check.places) == MOST_PLACES


def test_what_is_being_done_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "rows.jsonl", [chat(words(i), "yes") for i in range(80)])
    monkeypatch.setattr(quality_scan, "_TOLD_BYTES", 0)
    monkeypatch.setattr(quality_scan, "blocks_of", partial(blocks_of, block_bytes=3000))
    told: list[str] = []
    scan = Scan(paths=(path,), name="rows", layout=None, text_column="text", dup_threshold=0.9, num_processes=1)
    scan_quality(scan, tell=told.append)
    assert told[0] == "reading rows.jsonl"
    assert told[-1] == "comparing rows"
    assert told[1:-1] == [f"reading rows.jsonl: {share} %" for share in (25, 50, 75)]


@pytest.mark.parametrize("replaced", ["rows.jsonl", "other.jsonl"])
def test_a_file_that_is_replaced_while_its_layout_is_told_is_noticed(tmp_path: Path, replaced: str) -> None:
    rows, other = (written(tmp_path / name, varied()) for name in ("rows.jsonl", "other.jsonl"))

    def replace(stage: str) -> None:
        if stage == f"reading {replaced}":
            (tmp_path / replaced).unlink()
            written(tmp_path / replaced, varied()[:9])

    with pytest.raises(BackpropError) as refused:
        scan_quality(Scan((rows,), "rows", None, "text", 0.9, (other,), num_processes=1), tell=replace)
    assert refused.value.problems[0].code == "INPUT_DATASET_CHANGED"
