"""``backprop data report`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Done, backprop, leftovers

CONTRACT = {
    "dataset", "verdict", "failed_thresholds", "total_rows", "parseable_rows", "parse_errors", "format_distribution",
    "exact_duplicates", "duplicate_clusters", "near_duplicate_rate", "empty_turn_rows", "no_assistant_rows",
    "outlier_rows", "token_histogram", "contamination", "think_rows", "think_pct", "trace_histogram",
}  # fmt: skip
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
GOOD = [
    {
        "messages": [
            {"role": "user", "content": f"Is {a} {b}?"},
            {"role": "assistant", "content": f"{a} is not {b}, no."},
        ]
    }
    for a in NUMBERS
    for b in NUMBERS
    if a != b
]
EMPTY = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def report(*arguments: str, cwd: Path) -> Done:
    return backprop("data", "report", *arguments, cwd=cwd)


def test_the_envelope_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    done = report(written(tmp_path / "good.jsonl", GOOD), "--json", cwd=tmp_path)
    assert (done.code, done.data["command"], done.data["schema_version"]) == (0, "data report", 1)
    assert done.data.keys() >= CONTRACT
    assert (done.data["verdict"], done.data["failed_thresholds"]) == ("PASS", [])
    assert sum(bin["rows"] for bin in done.data["token_histogram"]) == done.data["parseable_rows"] == 90
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("rows", "flags", "code", "verdict"),
    [
        (GOOD, (), 0, "PASS"),
        (GOOD, ("--strict", "--fail-on-dups", "0", "--max-outlier-rate", "0"), 0, "PASS"),
        (GOOD + GOOD, (), 0, "FAIL"),
        (GOOD + GOOD, ("--strict",), 65, "FAIL"),
        (GOOD + GOOD[:12], (), 0, "WARN"),
        (GOOD + GOOD[:12], ("--strict",), 65, "FAIL"),
        (GOOD + GOOD[:3], ("--fail-on-dups", "0.1"), 0, "PASS"),
        (GOOD + GOOD[:3], ("--fail-on-dups", "0.01"), 65, "FAIL"),
        ([*GOOD, EMPTY], (), 0, "WARN"),
        (GOOD + [EMPTY] * 20, (), 0, "FAIL"),
        (GOOD, ("--against", "held.jsonl"), 0, "FAIL"),
        (GOOD, ("--against", "held.jsonl", "--fail-on-contamination", "0"), 65, "FAIL"),
        (GOOD, ("--against", "held.jsonl", "--fail-on-contamination", "0.5"), 0, "FAIL"),
        ([{"foo": 1}], (), 65, "FAIL"),
    ],
)
def test_only_gates_and_strict_and_nothing_to_read_fail(
    tmp_path: Path, rows: list[Any], flags: tuple[str, ...], code: int, verdict: str
) -> None:
    written(tmp_path / "held.jsonl", GOOD[:5])
    done = report(written(tmp_path / "rows.jsonl", rows), *flags, "--json", cwd=tmp_path)
    assert (done.code, done.data["exit_code"], done.data["verdict"]) == (code, code, verdict)
    if code and rows != [{"foo": 1}]:
        assert done.data["problems"][0]["code"] == "INPUT_DATASET_REPORT_THRESHOLD"
        assert done.data["failed_thresholds"]


def test_a_tripped_gate_stands_in_the_log(tmp_path: Path) -> None:
    name = written(tmp_path / "rows.jsonl", GOOD + GOOD)
    done = report(name, "--fail-on-dups", "0.1", "--log-format", "json", cwd=tmp_path)
    assert done.code == 65
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["code"] for line in logged if "code" in line] == ["INPUT_DATASET_REPORT_THRESHOLD"]
    assert done.stdout.startswith("FAIL: ")


BAD = {
    "missing": (None, "INPUT_DATASET_NOT_FOUND"),
    "not UTF-8": (b'{"text": "a long enough text"}\n' + b'{"text": "caf\xe9"}\n', "INPUT_DATASET_PARSE_FAILED"),
    "UTF-16": ('{"text": "a"}\n'.encode("utf-16"), "INPUT_DATASET_INVALID"),
    "empty": (b"", "INPUT_DATASET_INVALID"),
}


@pytest.mark.parametrize("name", BAD)
def test_input_that_cannot_be_read_exits_with_one(tmp_path: Path, name: str) -> None:
    content, code = BAD[name]
    if content is not None:
        (tmp_path / "rows.jsonl").write_bytes(content)
    done = report("rows.jsonl", "--json", cwd=tmp_path)
    assert (done.code, done.data["problems"][0]["code"]) == (1, code)


def test_a_directory_and_a_missing_held_out_file_exit_with_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert report("folder", cwd=tmp_path).code == 1
    done = report(written(tmp_path / "rows.jsonl", GOOD), "--against", "none.jsonl", "--html", "p.html", cwd=tmp_path)
    assert done.code == 1
    assert "none.jsonl" in done.stderr
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize("flags", ["--fail-on-dups 1.1", "--dup-threshold -1", "--format opneai", "--max-samples 0"])
def test_a_bad_flag_exits_with_one(tmp_path: Path, flags: str) -> None:
    done = report(written(tmp_path / "rows.jsonl", GOOD), *flags.split(), "--json", cwd=tmp_path)
    assert (done.code, done.data["problems"][0]["code"]) == (1, "CONFIG_INVALID_SETTING")


def test_the_page_is_written_whole_and_named(tmp_path: Path) -> None:
    done = report(written(tmp_path / "rows.jsonl", GOOD), "--html", "sub/page.html", "--json", cwd=tmp_path)
    page = (tmp_path / "sub" / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert done.data["html"] == str(tmp_path / "sub" / "page.html")
    assert leftovers(tmp_path) == []


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    name = written(tmp_path / "rows.jsonl", GOOD)
    done = report(name, "--html", f"{name}/page.html", "--json", cwd=tmp_path)
    assert done.code != 0
    assert done.data["problems"][0]["hint"]
    assert leftovers(tmp_path) == []


def test_the_report_is_piped_and_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    name = written(tmp_path / "rows.jsonl", GOOD)
    program = f'"{sys.executable}" -m backprop data report {name}'
    reader = f'"{sys.executable}" -c "import json, sys; print(json.load(sys.stdin)[\'verdict\'])"'
    piped = subprocess.run(
        ["sh", "-c", f"{program} --json 2>err | {reader}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (piped.stdout, piped.stderr) == ("PASS\n", "")
    head = subprocess.run(
        ["sh", "-c", f"{program} 2>err | head -n 1"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert head.stdout.startswith("PASS: ")
    assert "Traceback" not in (tmp_path / "err").read_text(encoding="utf-8")


def test_a_model_counts_the_tokens(tmp_path: Path, model: str) -> None:
    name = written(tmp_path / "rows.jsonl", GOOD)
    done = report(name, "--model", model, "--chat-template", "llama3", "--json", cwd=tmp_path)
    assert done.data["token_source"] == f"tokenizer of {model}"
    plain = report(name, "--model", model, "--chat-template", "plain", "--json", cwd=tmp_path)
    assert done.data["tokens"]["total"] != plain.data["tokens"]["total"]


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    name = written(tmp_path / "rows.jsonl", GOOD)
    code = (
        "import sys; from backprop.cli.main import main; main(sys.argv[1:]); "
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "report", name], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
