"""Which flags are told to change nothing."""

from __future__ import annotations

import pytest

from backprop.plan.decision import Severity
from backprop.plan.settings.idle import Lack, idle_flags
from backprop.plan.settings.resolve import Origin, Origins, Source

EVERYTHING = dict.fromkeys(Lack, True)


def given(*keys: str, source: Source = Source.FLAG) -> Origins:
    return Origins({key: Origin(source, key) for key in keys})


@pytest.mark.parametrize(
    ("key", "lack", "words"),
    [
        ("data.chat_template", Lack.MODEL, "--chat-template changes nothing without --model."),
        ("data.train_on_prompt", Lack.MODEL, "--train-on-prompt changes nothing without --model."),
        ("max_seq_length", Lack.MODEL, "--max-seq-length changes nothing without --model."),
        ("fail_on_contamination", Lack.HELD_OUT, "--fail-on-contamination changes nothing without --against."),
        ("dup_threshold", Lack.SIMILARITY, "--dup-threshold changes nothing with --exact-only: similar rows"),
        ("data.dataset_split", Lack.SPLITS, "--dataset-split changes nothing for a file: only data sets on the Hub"),
    ],
)
def test_a_flag_that_was_given_and_lacks_what_it_needs_is_a_warning(key: str, lack: Lack, words: str) -> None:
    (problem,) = idle_flags(given(key), {lack: True})
    assert problem.message.startswith(words)
    assert (problem.severity, problem.code) == (Severity.WARNING, "CONFIG_INVALID_SETTING")
    assert idle_flags(given(key), {lack: False}) == ()
    assert idle_flags(given(key), {**EVERYTHING, lack: False}) == ()
    assert idle_flags(Origins(), EVERYTHING) == ()


@pytest.mark.parametrize("source", [Source.CONFIG, Source.ENVIRONMENT, Source.DOTENV, Source.USER])
def test_what_speaks_to_several_commands_is_not_told_of_one(source: Source) -> None:
    assert idle_flags(given("data.chat_template", source=source), EVERYTHING) == ()
    assert len(idle_flags(given("data.chat_template", source=Source.CALL), EVERYTHING)) == 1
