"""``backprop data split`` and ``data dedupe`` on real files."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backprop.effects.probe.row_source import open_rows
from backprop.plan.data.shown import DedupeReport, SplitReport
from backprop.plan.errors import BackpropError
from backprop.plan.settings.data import RowFormat
from backprop.plan.settings.resolve import Origin, Origins, Source
from backprop.plan.settings.verbs.data_dedupe import DataDedupeSettings
from backprop.plan.settings.verbs.data_split import DataSplitSettings
from backprop.workflows import data_dedupe, data_split
from backprop.workflows.data_split import split_dataset
from backprop.workflows.request import Request

WORDS = ("amber", "birch", "cedar", "delta", "ember", "frost", "grove", "heron", "islet", "jetty")


def question(number: int, *, more: str = "") -> str:
    """A row of some 60 words, none like another's."""
    said = " ".join(f"{word}{number * 31 + place}" for place in range(6) for word in WORDS)
    chat = [{"role": "user", "content": f"{said}{more}"}, {"role": "assistant", "content": f"It is {number}."}]
    return json.dumps({"messages": chat})


def write(path: Path, *lines: str, end: str = "\n") -> str:
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def split(dataset: str, **settings: object) -> SplitReport:
    report = data_split.run(Request(DataSplitSettings(dataset=dataset, **settings))).report  # type: ignore[arg-type]
    assert isinstance(report, SplitReport)
    return report


def dedupe(dataset: str, **settings: object) -> DedupeReport:
    report = data_dedupe.run(Request(DataDedupeSettings(dataset=dataset, **settings))).report  # type: ignore[arg-type]
    assert isinstance(report, DedupeReport)
    return report


def test_a_split_is_a_partition_of_the_lines_as_they_stand(tmp_path: Path) -> None:
    lines = [question(number) + " " * (number % 3) for number in range(50)]
    report = split(write(tmp_path / "rows.jsonl", *lines, "", end="\r\n"), heldout_ratio=0.2)
    train, heldout = Path(report.out_train).read_bytes(), Path(report.out_heldout).read_bytes()
    assert (Path(report.out_train).name, Path(report.out_heldout).name) == ("rows.train.jsonl", "rows.heldout.jsonl")
    assert (report.n_train, report.n_heldout) == (40, 10)
    parts = [part.split(b"\n")[:-1] for part in (train, heldout)]
    assert sorted(parts[0] + parts[1]) == sorted(f"{line}\r".encode() for line in lines)
    order = [line.encode() + b"\r" for line in lines]
    assert all([order.index(line) for line in part] == sorted(order.index(line) for line in part) for part in parts)


def test_the_same_command_gives_the_same_files_and_the_order_of_rows_none_others(tmp_path: Path) -> None:
    lines = [question(number) for number in range(50)]
    one = split(write(tmp_path / "a.jsonl", *lines))
    other = split(write(tmp_path / "b.jsonl", *reversed(lines)))
    held = [sorted(Path(report.out_heldout).read_text().splitlines()) for report in (one, other)]
    assert held[0] == held[1]


def test_equal_and_similar_rows_stay_on_one_side(tmp_path: Path) -> None:
    lines = [question(number, more=more) for number in range(40) for more in ("", " indeed", " INDEED  ")]
    report = split(write(tmp_path / "rows.jsonl", *lines), heldout_ratio=0.25)
    assert (report.num_clusters, report.n_heldout) == (40, 30)
    answers = [
        {json.loads(line)["messages"][1]["content"] for line in Path(out).read_text().splitlines()}
        for out in (report.out_train, report.out_heldout)
    ]
    assert not answers[0] & answers[1]
    assert split(str(tmp_path / "rows.jsonl"), exact_only=True).num_clusters == 80


def test_rows_that_cannot_be_read_are_said_and_stand_nowhere(tmp_path: Path) -> None:
    lines = [*(question(number) for number in range(10)), *["{"] * 5]
    dataset = write(tmp_path / "rows.jsonl", *lines)
    outcome = data_split.run(Request(DataSplitSettings(dataset=dataset)))
    assert (outcome.report.n_train + outcome.report.n_heldout, outcome.report.rows_broken) == (10, 5)
    assert [problem.where for problem in outcome.problems] == [f"{dataset}:{line}" for line in (11, 12, 13)] + [""]
    assert "2 more rows could not be read" in outcome.problems[-1].message
    assert outcome.exit_code == 0


def test_compressed_and_table_files_become_lines(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(question(number) + "\n" for number in range(10)).encode()))
    report = split(str(packed))
    assert Path(report.out_train) == tmp_path / "rows.train.jsonl"
    assert len(Path(report.out_train).read_text().splitlines()) == 9
    table = write(tmp_path / "table.csv", "instruction,output", *(f"ask {number},say {number}" for number in range(10)))
    (row, *_) = Path(split(table).out_train).read_text().splitlines()
    assert set(json.loads(row)) == {"instruction", "output"}


@pytest.mark.parametrize(
    ("lines", "settings", "code", "says"),
    [
        ([question(1)], {}, "CONFIG_INVALID_SETTING", "it has one row"),
        ([question(1), "{", "{"], {}, "CONFIG_INVALID_SETTING", "it has one row that can be read, of 3"),
        ([question(1)] * 3, {}, "CONFIG_INVALID_SETTING", "3 rows are all equal or similar"),
        ([question(1)] * 3, {"exact_only": True}, "CONFIG_INVALID_SETTING", "3 rows are all equal\\.$"),
        (["{"], {}, "INPUT_DATASET_PARSE_FAILED", "is not JSON"),
        ([question(1), question(2)], {"out_train": "rows.jsonl"}, "INPUT_VALIDATION_FAILED", "is the data set itself"),
        (
            [question(1), question(2)],
            {"out_train": "x.jsonl", "out_heldout": "x.jsonl"},
            "INPUT_VALIDATION_FAILED",
            "another",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_and_nothing_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    settings: dict[str, object],
    code: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = write(tmp_path / "rows.jsonl", *lines)
    with pytest.raises(BackpropError, match=says) as refused:
        split(dataset, **settings)
    assert refused.value.problems[0].code == code
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_library_refuses_a_share_out_of_range(tmp_path: Path) -> None:
    dataset = write(tmp_path / "rows.jsonl", question(1), question(2))
    for ratio in (0, 1, -0.1, float("nan")):
        with pytest.raises(BackpropError) as refused:
            split_dataset(dataset, heldout_ratio=ratio)
        assert refused.value.problems[0].code == "CONFIG_INVALID_SETTING"
    assert split_dataset(Path(dataset), heldout_ratio=0.5).n_heldout == 1


def test_the_first_of_each_cluster_is_kept_and_it_is_said_why_others_went(tmp_path: Path) -> None:
    lines = [question(1), question(2), question(1), question(2, more=" indeed"), question(3)]
    report = dedupe(write(tmp_path / "rows.jsonl", *lines))
    assert (report.rows_kept, report.rows_equal, report.rows_similar) == (3, 1, 1)
    assert Path(report.out).read_text().splitlines() == [lines[0], lines[1], lines[4]]
    reasons = [json.loads(line) for line in Path(report.removed).read_text().splitlines()]
    where = f"{tmp_path / 'rows.jsonl'}:"
    assert reasons == [
        {"row": f"{where}3", "stays": f"{where}1", "reason": "equal"},
        {"row": f"{where}4", "stays": f"{where}2", "reason": "similar"},
    ]


def test_a_second_time_removes_nothing_also_where_boilerplate_changes(tmp_path: Path) -> None:
    shared = " ".join(f"rule{number}" for number in range(60))
    lines = [question(number % 15, more=f" {shared}" if number < 30 else "") for number in range(45)]
    lines += [question(100 + number, more=f" {shared}") for number in range(12)]
    report = dedupe(write(tmp_path / "rows.jsonl", *lines))
    again = dedupe(report.out)
    assert (again.rows_kept, again.rows_equal, again.rows_similar) == (report.rows_kept, 0, 0)
    assert Path(again.out).read_bytes() == Path(report.out).read_bytes()


@pytest.mark.parametrize("verb", [data_split.run, data_dedupe.run])
@pytest.mark.parametrize(
    ("name", "asked", "hint"),
    [
        ("rows.jsonl", "out.csv", ".jsonl or .ndjson"),
        ("rows.jsonl", "out.jsonl.gz", ".jsonl or .ndjson"),
        ("rows.jsonl", "out.txt", ".jsonl or .ndjson"),
        ("rows.jsonl", "out", ".jsonl or .ndjson"),
        ("rows.txt", "out.jsonl", ".txt"),
    ],
)
def test_a_suffix_that_is_not_that_of_what_is_written_is_refused(
    tmp_path: Path, verb: Callable[[Request[object]], object], name: str, asked: str, hint: str
) -> None:
    dataset = write(tmp_path / name, question(1), question(2))
    out = str(tmp_path / asked)
    split_up, deduped = DataSplitSettings(dataset=dataset, out_train=out), DataDedupeSettings(dataset=dataset, out=out)
    with pytest.raises(BackpropError, match="suffix of another kind") as refused:
        verb(Request(split_up if verb is data_split.run else deduped))
    assert refused.value.problems[0].code == "INPUT_VALIDATION_FAILED"
    assert f"ends in {hint} with --out" in refused.value.problems[0].hint
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "out"), [("a.jsonl", "out.NDJSON"), ("a.jsonl", "out.jsonl"), ("a.txt", "out.txt")])
def test_what_is_written_is_read_back_as_the_same_rows(tmp_path: Path, name: str, out: str) -> None:
    dataset = write(tmp_path / name, *(question(number) for number in range(3)))
    dedupe(dataset, out=str(tmp_path / out))
    was, read = (
        open_rows(str(path), format=RowFormat.AUTO, text_column="text", split="train", flag="DATASET")
        for path in (dataset, tmp_path / out)
    )
    assert [row.example for row in read.rows()] == [row.example for row in was.rows()]
    assert read.layout is was.layout


def test_the_reasons_of_text_that_went_are_json_lines(tmp_path: Path) -> None:
    report = dedupe(write(tmp_path / "rows.txt", "a line", "a line", "another"))
    assert (Path(report.out).name, Path(report.removed).name) == ("rows.deduped.txt", "rows.removed.jsonl")
    assert [json.loads(line)["reason"] for line in Path(report.removed).read_text().splitlines()] == ["equal"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are told by /proc")
def test_both_files_of_a_dedupe_are_replaced_or_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write(tmp_path / "rows.jsonl", question(1), question(1))
    former = {name: write(tmp_path / name, "former") for name in ("rows.deduped.jsonl", "rows.removed.jsonl")}
    sync = os.fsync

    def full_for_reasons(descriptor: int) -> None:
        if "removed" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full_for_reasons)
    with pytest.raises(BackpropError) as refused:
        dedupe(dataset)
    assert refused.value.problems[0].code == "RUNTIME_DISK_FULL"
    assert [Path(path).read_text() for path in former.values()] == ["former\n"] * 2


def test_flags_without_effect_are_told(tmp_path: Path) -> None:
    dataset = write(tmp_path / "rows.jsonl", question(1), question(2))
    given = Origins({key: Origin(Source.FLAG, key) for key in ("dup_threshold", "data.dataset_split")})
    split_up = data_split.run(Request(DataSplitSettings(dataset=dataset, exact_only=True), given))
    deduped = data_dedupe.run(Request(DataDedupeSettings(dataset=dataset), given))
    assert [problem.where for problem in split_up.problems] == ["--dup-threshold", "--dataset-split"]
    assert [problem.where for problem in deduped.problems] == ["--dataset-split"]
