from __future__ import annotations

from backprop.plan.decision import Refused
from backprop.plan.runs.record import GivenSetting
from backprop.plan.runs.settings import settings_of
from backprop.plan.settings.resolve import Source
from backprop.plan.settings.verbs.train import TrainSettings
from tests.plan.runs.examples import a_record


def given(key: str, text: str) -> GivenSetting:
    return GivenSetting(key=key, text=text, source=Source.FLAG, name="--flag")


def test_what_was_given_comes_back_with_the_paths_that_were_found() -> None:
    record = a_record(settings=(given("data.dataset_name", "rows.jsonl"), given("lora.r", "8")))
    found = settings_of(record)
    assert isinstance(found, TrainSettings)
    assert found.lora.r == 8
    assert found.data.dataset_name == record.plan.data.train.name
    assert found.model.name == record.plan.model.directory


def test_a_setting_that_was_masked_or_is_unknown_to_this_version_is_refused_by_its_name() -> None:
    masked = settings_of(a_record(settings=(given("data.chat_template", "token=[redacted]"),)))
    assert isinstance(masked, Refused)
    assert "data.chat_template" in masked.problems[0].message
    unknown = settings_of(a_record(settings=(given("training.optim", "sophia"),)))
    assert isinstance(unknown, Refused)
    assert "sophia" in unknown.problems[0].message
