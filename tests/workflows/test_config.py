"""The user's file: shown with origins, written whole, put aside; and what cannot be written is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from backprop.cli.style import Style
from backprop.cli.views.config import show
from backprop.plan.settings.resolve import Source
from backprop.plan.settings.verbs.config import ConfigSettings
from backprop.plan.wire.envelope import envelope
from backprop.plan.wire.outcome import Outcome, Status
from backprop.workflows.config import run
from backprop.workflows.request import Request


@pytest.fixture(autouse=True)
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's file will be; the working directory is empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "config" / "backprop" / "config.toml"


def config(**settings: Any) -> Outcome:
    return run(Request(ConfigSettings(**settings)))


def shown(key: str) -> Any:
    return next(s for s in config().report.settings if s.key == key)


def written(user_file: Path, content: str) -> None:
    user_file.parent.mkdir(parents=True, exist_ok=True)
    user_file.write_text(content)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("training.learning_rate=1e-4", {"training": {"learning_rate": 1e-4}}),
        ("TRAINING__MAX_STEPS=7", {"training": {"max_steps": 7}}),
        ("BACKPROPAGATE_LOG_LEVEL=error", {"log": {"level": "ERROR"}}),
        (" lora.target_modules =q_proj, v_proj", {"lora": {"target_modules": ["q_proj", "v_proj"]}}),
        ("data.packing=no", {"data": {"packing": False}}),
        ("training.per_device_train_batch_size=auto", {"training": {"per_device_train_batch_size": "auto"}}),
        ('model.name=a=b"\n', {"model": {"name": 'a=b"\n'}}),
    ],
)
def test_what_is_set_is_typed_in_the_file_and_shown_from_it(user_file: Path, text: str, table: dict[str, Any]) -> None:
    outcome = config(set=text)
    assert outcome.exit_code == 0
    assert str(user_file) in outcome.report.changed
    assert tomllib.loads(user_file.read_text()) == table
    ((group, inner),) = table.items()
    setting = shown(f"{group}.{next(iter(inner))}")
    assert (setting.source, setting.origin) == (Source.USER, str(user_file))
    assert setting.value in (next(iter(inner.values())), None)


def test_setting_one_thing_keeps_the_others_and_leaves_nothing_beside_the_file(user_file: Path) -> None:
    config(set="lora.r=8")
    config(set="lora.lora_alpha=32")
    config(set="lora.r=16")
    assert tomllib.loads(user_file.read_text()) == {"lora": {"r": 16, "lora_alpha": 32.0}}
    assert [p.name for p in user_file.parent.iterdir()] == ["config.toml"]


def test_a_dotted_key_in_the_file_gives_way_to_the_table(user_file: Path) -> None:
    written(user_file, '"lora.r" = 4\n')
    config(set="lora.r=8")
    assert tomllib.loads(user_file.read_text()) == {"lora": {"r": 8}}


@pytest.mark.parametrize("before", ["[training]\nmax_steps = 5\n", '"training.max_steps" = 5\n'])
def test_setting_what_excludes_another_removes_the_other_and_says_so(user_file: Path, before: str) -> None:
    written(user_file, before)
    outcome = config(set="training.num_train_epochs=2")
    assert "training.max_steps, which it excludes, is removed" in outcome.report.changed
    assert tomllib.loads(user_file.read_text()) == {"training": {"num_train_epochs": 2.0}}


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("training.max_stesp=5", "CONFIG_UNKNOWN_SETTING", "training.max_steps"),
        ("json=true", "CONFIG_UNKNOWN_SETTING", "json"),
        ("training.max_steps=0", "CONFIG_INVALID_SETTING", "at least 1"),
        ("training.learning_rate=", "CONFIG_INVALID_SETTING", "a number above 0"),
        ("training.max_steps", "INPUT_VALIDATION_FAILED", "KEY=VALUE"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(user_file: Path, text: str, code: str, part: str) -> None:
    outcome = config(set=text)
    assert (outcome.status, outcome.exit_code) == (Status.REFUSED, 1)
    (problem,) = outcome.problems
    assert problem.code == code
    assert part in problem.message + problem.hint
    assert not user_file.exists()


def test_a_value_where_a_table_should_be_is_refused_and_kept(user_file: Path) -> None:
    written(user_file, 'model = "x"\n')
    (problem,) = config(set="model.name=y").problems
    assert problem.code == "CONFIG_INVALID"
    assert user_file.read_text() == 'model = "x"\n'


def test_reset_keeps_the_file_beside_itself_and_twice_is_no_error(user_file: Path) -> None:
    config(set="lora.r=8")
    kept = user_file.with_name("config.toml.bak")
    assert str(kept) in config(reset=True).report.changed
    assert not user_file.exists()
    assert tomllib.loads(kept.read_text()) == {"lora": {"r": 8}}
    assert "nothing to reset" in config(reset=True).report.changed
    assert kept.exists()


def test_a_broken_file_can_be_reset(user_file: Path) -> None:
    written(user_file, "= broken")
    assert config(reset=True).exit_code == 0
    assert not user_file.exists()


def test_set_and_reset_together_are_refused(user_file: Path) -> None:
    config(set="lora.r=8")
    assert config(set="lora.r=9", reset=True).exit_code == 1
    assert user_file.exists()


@pytest.mark.parametrize("asked", [{}, {"show": True}, {"show": False}])
def test_the_settings_are_shown_when_asked_for_and_when_nothing_else_is(asked: dict[str, Any]) -> None:
    assert config(**asked).report.settings
    assert not config(set="lora.r=8", show=False).report.settings


@pytest.mark.parametrize(("asked", "value"), [({"set": "lora.r=8"}, 8), ({"reset": True}, None)])
def test_a_change_and_the_settings_after_it_are_shown_together(asked: dict[str, Any], value: int | None) -> None:
    config(set="lora.r=4")
    report = config(show=True, **asked).report
    assert next(s.value for s in report.settings if s.key == "lora.r") == value
    text = show(report, Style(width=200))
    assert text.startswith(report.changed)
    assert "\nlora.r " in text


def test_a_change_is_told_when_the_settings_cannot_be_shown(user_file: Path) -> None:
    Path("backprop.toml").write_text("[training\n")
    outcome = config(set="lora.r=8", show=True)
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 1)
    assert show(outcome.report, Style()) == f"lora.r = 8 in {user_file}"
    assert tomllib.loads(user_file.read_text()) == {"lora": {"r": 8}}


def test_each_source_is_shown_where_it_wins(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(user_file, "[training]\nseed = 5\nmax_steps = 5\nsave_steps = 5\n[lora]\nr = 5\n")
    Path("backprop.toml").write_text("[training]\nmax_steps = 4\nsave_steps = 4\n[lora]\nr = 4\n")
    Path(".env").write_text("export BACKPROPAGATE_TRAINING__SAVE_STEPS=3  # mine\nBACKPROPAGATE_LORA__R='3'\n")
    monkeypatch.setenv("BACKPROPAGATE_LORA__R", "2")
    by_key = {s.key: (s.value, s.source, s.origin) for s in config().report.settings}
    assert by_key["training.seed"] == (5, Source.USER, str(user_file))
    assert by_key["training.max_steps"] == (4, Source.CONFIG, "backprop.toml")
    assert by_key["training.save_steps"] == (3, Source.DOTENV, ".env")
    assert by_key["lora.r"] == (2, Source.ENVIRONMENT, "BACKPROPAGATE_LORA__R")
    assert by_key["training.logging_steps"] == (10, Source.DEFAULT, "")


def test_a_file_named_with_config_stands_in_for_the_projects_and_must_exist() -> None:
    Path("backprop.toml").write_text("[lora]\nr = 4\n")
    Path("other.toml").write_text("[training]\nseed = 1\n")
    by_key = {s.key: s.source for s in config(config="other.toml").report.settings}
    assert (by_key["lora.r"], by_key["training.seed"]) == (Source.DEFAULT, Source.CONFIG)
    (problem,) = config(config="missing.toml").problems
    assert problem.code == "CONFIG_INVALID"
    assert "missing.toml does not exist" in problem.message


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("backprop.toml", b"[training\n", "line 1"),
        ("backprop.toml", b"[lora]\nr = 1\nr = 2\n", "not valid TOML"),
        ("backprop.toml", b"a = '\xff'\n", "not UTF-8"),
        ("backprop.toml", b"[training]\nseed = 1" + b"0" * 5000, "not valid TOML"),
        ("backprop.toml", b"a = " + b"[" * 5000, "not valid TOML"),
        (".env", b"A=1\n'B=2\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(name: str, content: bytes, part: str) -> None:
    Path(name).write_bytes(content)
    (problem,) = config().problems
    assert problem.code == "CONFIG_INVALID"
    assert name in problem.message
    assert part in problem.message


def test_windows_files_are_read_with_their_byte_order_mark_and_line_ends() -> None:
    Path("backprop.toml").write_bytes(b"\xef\xbb\xbf[lora]\r\nr = 4\r\n")
    assert shown("lora.r").value == 4


def test_secrets_are_masked_wherever_they_are_shown() -> None:
    changed = config(set="model.name=https://me:word@host/m").report.changed
    listed = config(set="lora.target_modules=q_proj,hf_abcdefghijkl").report.changed
    report = config().report
    for text in (changed, listed, str(envelope(config())), show(report, Style())):
        assert "me:word" not in text
        assert "hf_abc" not in text


def test_the_table_shows_values_as_they_are_written_and_what_unset_means() -> None:
    config(set="data.packing=false")
    lines = {line.split()[0]: line for line in show(config().report, Style(width=200)).splitlines() if line}
    assert lines["data.packing"].split()[1] == "false"
    unset = "(2e-4 for LoRA, 2e-5 for --mode full; 8e-6 for orpo, 1e-6 for simpo and kto)"
    assert unset in lines["training.learning_rate"]
    assert lines["training.seed"].split() == ["training.seed", "42", "default"]
