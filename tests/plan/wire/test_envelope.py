"""The one JSON shape of every command, and plain data that agrees with the strict converter."""

from __future__ import annotations

import json

import attrs
import pytest

from backprop.plan.decision import Problem, warning
from backprop.plan.errors import BackpropError
from backprop.plan.settings.log import LogFormat
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.wire.converter import as_mapping, canonical_json, from_data, to_data
from backprop.plan.wire.envelope import envelope, envelope_json, problem_json
from backprop.plan.wire.outcome import failed, ok, refused
from backprop.plan.wire.plain import plain_data


@attrs.frozen
class Report:
    answer: int
    format: LogFormat = LogFormat.JSON


def test_success_has_the_common_fields_first_and_the_reports_own_beside_them() -> None:
    assert list(envelope(ok("info", Report(42))).items()) == [
        ("schema_version", 1),
        ("command", "info"),
        ("status", "ok"),
        ("exit_code", 0),
        ("problems", []),
        ("answer", 42),
        ("format", "json"),
    ]


def test_a_refusal_holds_every_problem_and_the_first_ones_exit_code() -> None:
    data = envelope(refused("train", (warning("CONFIG_DEPRECATED", "w"), Problem("HUB_UNREACHABLE", "m", "here"))))
    assert (data["status"], data["exit_code"]) == ("refused", 69)
    assert data["problems"][1] == {
        "code": "HUB_UNREACHABLE",
        "severity": "error",
        "message": "m",
        "where": "here",
        "hint": "Check the connection, or give a local directory.",
        "retryable": True,
    }


def test_secrets_in_message_place_and_hint_are_masked() -> None:
    secret = "hf_abcdefghijklmnop"
    problem = Problem("CONFIG_INVALID", f"no {secret}", where=f"https://u:{secret}@h", hint=f"token={secret}")
    assert secret not in problem_json(problem)
    assert secret not in envelope_json(failed("train", BackpropError(problem)))


def test_every_line_is_valid_json_in_utf_8_whatever_the_arguments_were() -> None:
    line = problem_json(Problem("CONFIG_INVALID", "\udcff é \n \x00 \u2028"))
    assert json.loads(line.encode())["message"] == "\udcff é \n \x00 \u2028"
    assert "\n" not in line


def test_text_that_is_not_ascii_stays_readable() -> None:
    assert "é" in problem_json(Problem("CONFIG_INVALID", "é"))


def test_a_report_cannot_shadow_the_common_fields() -> None:
    with pytest.raises(AssertionError):
        envelope(ok("x", attrs.make_class("Bad", ["status"])("mine")))


def test_plain_data_agrees_with_the_strict_converter_and_comes_back() -> None:
    settings = TrainSettings()
    assert plain_data(settings) == to_data(settings)
    assert from_data(json.loads(json.dumps(to_data(settings))), TrainSettings) == settings


@pytest.mark.parametrize("data", [{"unknown": 1}, {"training": 5}, {"training": {"optim": "magic"}}, [], None])
def test_what_is_no_such_value_is_a_value_error(data: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        from_data(data, TrainSettings)


def test_json_has_no_nan_and_one_form() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))
    assert canonical_json({"b": 1, "a": [1, 2]}) == canonical_json({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'


def test_only_an_object_is_a_mapping() -> None:
    assert as_mapping({}) == {}
    with pytest.raises(ValueError, match="not a JSON object"):
        as_mapping([])
