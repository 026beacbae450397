"""From the command line to a command and its flags."""

from __future__ import annotations

import pytest

from backprop.cli.arguments import log_flags, parse_arguments
from backprop.plan.errors import BackpropError


def values(*argv: str) -> dict[str, str]:
    arguments = parse_arguments(argv)
    assert not arguments.problems
    return dict(arguments.flags.values)


def error(*argv: str) -> tuple[str, str]:
    with pytest.raises(BackpropError) as raised:
        parse_arguments(argv)
    (problem,) = raised.value.problems
    assert problem.code == "INPUT_VALIDATION_FAILED"
    return problem.message, problem.hint


def test_flags_are_split_and_left_as_text() -> None:
    assert values("train", "-d", "rows.jsonl", "--lr=1e-4", "--no-packing") == {
        "data.dataset_name": "rows.jsonl",
        "training.learning_rate": "1e-4",
        "data.packing": "false",
    }


def test_flags_for_every_command_stand_before_it_or_after() -> None:
    assert values("--log-level", "ERROR", "-v", "runs") == values("runs", "--log-level=ERROR", "--verbose")


def test_the_last_of_a_repeated_flag_holds() -> None:
    assert values("train", "--packing", "--no-packing", "--lr", "1", "--lr", "2") == {
        "data.packing": "false",
        "training.learning_rate": "2",
    }


def test_values_may_begin_with_a_dash() -> None:
    assert values("train", "--lr", "-1", "--data=-x") == {"training.learning_rate": "-1", "data.dataset_name": "-x"}
    assert values("generate", "--", "out", "-- what?")["prompt"] == "-- what?"
    assert values("export", "out", "--base=--") == {"path": "out", "base": "--"}
    assert values("generate", "out", "--num", "2", "-") == {"adapter_path": "out", "num": "2", "prompt": "-"}


@pytest.mark.parametrize(
    ("argv", "wish"),
    [
        (["--help"], "help"),
        (["-V"], "version"),
        (["train", "-h", "--lr"], "help"),
        (["train", "--nonsense", "--help-all"], "help_all"),
        ([], ""),
    ],
)
def test_a_wish_for_help_comes_before_everything_that_is_wrong(argv: list[str], wish: str) -> None:
    assert parse_arguments(argv).wish == wish


def test_help_after_two_dashes_is_a_word() -> None:
    assert values("generate", "--", "out", "--help") == {"adapter_path": "out", "prompt": "--help"}


def test_misspelt_flags_are_problems_each_with_the_nearest() -> None:
    arguments = parse_arguments(["train", "--stpes=5", "--bakend", "cpu", "--lr", "1"])
    assert [(p.where, p.hint) for p in arguments.problems] == [
        ("--stpes", "Did you mean --steps?"),
        ("--bakend", "Did you mean --backend?"),
    ]
    assert arguments.flags.values == {"training.learning_rate": "1"}


@pytest.mark.parametrize("flag", ["--bogus", "--foo", "--xyzzy"])
def test_two_dashes_alone_are_no_likeness(flag: str) -> None:
    for argv in (["estimate-vram", flag], ["train", flag]):
        assert "Did you mean" not in parse_arguments(argv).problems[0].hint


def test_abbreviations_are_not_guessed() -> None:
    assert parse_arguments(["train", "--step", "5"]).problems[0].hint == "Did you mean --steps?"


def test_a_word_too_many_is_a_problem() -> None:
    (problem,) = parse_arguments(["info", "everything"]).problems
    assert '"everything"' in problem.message


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["trian"], '"trian"', "`backprop train`"),
        (["qqqq"], '"qqqq"', "--help"),
        (["--verbos", "train"], "--verbos", "--verbose"),
        (["--lr", "1", "train"], "--lr", "after its name"),
        (["train", "--lr"], "expected one argument", ""),
        (["show-run"], "RUN_ID", ""),
        (["train", "--dry-run=yes"], "ignored explicit argument", ""),
    ],
)
def test_what_cannot_be_split_is_an_error_that_helps(argv: list[str], message: str, hint: str) -> None:
    told, helped = error(*argv)
    assert message in told
    assert hint in helped


def test_how_to_talk_is_known_even_of_a_line_that_cannot_be_split() -> None:
    assert log_flags(["trian", "--log-format", "json", "--x"]).values == {"log.format": "json"}
    assert log_flags(["generate", "--", "a", "--log-format=json"]).values == {}
    assert log_flags(["train", "--log-format"]).values == {}
