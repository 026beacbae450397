"""Laws of settings: however they are written down they come back, and the stronger source wins."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from backprop.cli.arguments import parse_arguments
from backprop.effects.configuration import observe_configuration
from backprop.effects.files.user_config import write_user_config
from backprop.plan.settings.commands import COMMANDS, Command
from backprop.plan.settings.option import BoundOption, flags_for, options_of
from backprop.plan.settings.resolve import Layer, Resolved, Source, resolve
from backprop.plan.settings.verbs.config import EverySetting
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.wire.plain import plain_data
from property_tests.strategies.settings import VALUES, built, values_of

BY_KEY = {bound.key: bound for bound in options_of(EverySetting)}
LOWER_SOURCES = (Source.ENVIRONMENT, Source.DOTENV, Source.CONFIG, Source.USER)


def resolved(settings_class: type[Any], *layers: Layer) -> Resolved[Any]:
    result = resolve(settings_class, layers)
    assert isinstance(result, Resolved)
    return result


def observed(values: dict[Source, dict[str, Any]]) -> tuple[Layer, ...]:
    """The layers that are read back after each source was written as a user would write it."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / ".env").write_text(dotenv(values.get(Source.DOTENV, {})), encoding="utf-8")
        write_user_config(directory / "backprop.toml", tables(values.get(Source.CONFIG, {})))
        write_user_config(directory / "user.toml", tables(values.get(Source.USER, {})))
        environ = {str(BY_KEY[k].env): text(k, v) for k, v in values.get(Source.ENVIRONMENT, {}).items()}
        seen = observe_configuration(
            environ=environ, directory=directory, config=None, user_file=directory / "user.toml"
        )
    assert not seen.errors
    assert not seen.warnings
    return seen.layers


def text(key: str, value: Any) -> str:
    return BY_KEY[key].option.kind.text(value)


def dotenv(values: dict[str, Any]) -> str:
    quoted = ((BY_KEY[k].env, text(k, v).replace("\\", "\\\\").replace("'", "\\'")) for k, v in values.items())
    return "".join(f"{name}='{value}'\n" for name, value in quoted)


def tables(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        table.setdefault(BY_KEY[key].group, {})[BY_KEY[key].name] = plain_data(value)
    return table


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
@settings(max_examples=40)
@given(st.data())
def test_settings_written_as_flags_parse_to_themselves(command: Command, data: st.DataObject) -> None:
    asked = built(command.settings, data.draw(values_of(command.settings)))
    arguments = parse_arguments([command.name, *flags_for(asked)])
    assert not arguments.problems
    assert resolved(command.settings, arguments.flags).settings == asked


@pytest.mark.parametrize("source", LOWER_SOURCES, ids=lambda s: s.name)
@settings(max_examples=30)  # each writes three files through to the disk
@given(values_of(EverySetting))
def test_settings_written_in_one_source_are_read_back_from_it(source: Source, values: dict[str, Any]) -> None:
    if source is Source.DOTENV:  # reading a text file makes one sort of line end of all
        assume(not any("\r" in text(k, v) for k, v in values.items()))
    back = resolved(EverySetting, *observed({source: values}))
    assert back.settings == built(EverySetting, values)
    assert {key: origin.source for key, origin in back.origins.by_key.items()} == dict.fromkeys(values, source)


@given(values_of(TrainSettings))
def test_resolving_what_was_resolved_changes_nothing(values: dict[str, Any]) -> None:
    once = resolved(TrainSettings, Layer(Source.FLAG, "", values, typed=True))
    assert once.settings == built(TrainSettings, values)
    again = {key: plain_data(value) for key, value in values.items()}
    assert resolved(TrainSettings, Layer(Source.CONFIG, "f", again, typed=True)).settings == once.settings


@given(st.sampled_from(tuple(BY_KEY.values())), st.data())
def test_of_two_sources_the_stronger_one_gives_value_and_origin(bound: BoundOption, data: st.DataObject) -> None:
    said = {s: data.draw(VALUES[type(bound.option.kind)](bound.option.kind)) for s in (Source.FLAG, *LOWER_SOURCES)}
    layers = [
        Layer(s, f"file of {s.value}", {bound.key: said[s] if typed else bound.option.kind.text(said[s])}, typed=typed)
        for s, typed in zip(said, (False, False, False, True, True), strict=True)
    ]
    for strong in range(len(layers)):
        origins = resolved(EverySetting, *layers[strong:])
        origin = origins.origins.of(bound.key)
        assert origin is not None
        assert (origin.source, origins.settings) == (
            layers[strong].source,
            built(EverySetting, {bound.key: said[layers[strong].source]}),
        )


@given(st.integers(1, 10**6), st.floats(0.1, 100), st.permutations(range(2)))
@example(1, 1.0, [0, 1])
def test_of_two_that_exclude_each_other_the_stronger_source_stays(steps: int, epochs: float, order: list[int]) -> None:
    pair: list[dict[str, Any]] = [{"training.max_steps": steps}, {"training.num_train_epochs": epochs}]
    layers = [
        Layer(source, "f", pair[i], typed=True) for source, i in zip((Source.CONFIG, Source.USER), order, strict=True)
    ]
    assert resolved(TrainSettings, *layers).settings == built(TrainSettings, pair[order[0]])


def test_no_two_settings_share_a_flag_a_variable_or_a_key() -> None:
    for command in COMMANDS:
        flags = [f for b in options_of(command.settings) for f in (*b.option.flags, b.negative_flag) if f]
        assert len(flags) == len(set(flags)), command.name
    for a, b in itertools.combinations(options_of(EverySetting), 2):
        assert (a.key, a.env) != (b.key, b.env)
        assert a.env != b.env
        assert not set(a.option.flags) & set(b.option.flags)
