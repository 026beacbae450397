"""Everything that says what a setting is, read once: variables, ``.env``, the project's file and the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from backprop.effects.files.user_config import DOTENV_FILE, PROJECT_FILE, read_dotenv, read_toml
from backprop.plan.decision import Problem, errors_among, warnings_among
from backprop.plan.errors import BackpropError
from backprop.plan.settings.option import ENV_PREFIX, BoundOption, options_of
from backprop.plan.settings.resolve import Layer, Source, environment_layer, table_layer


@attrs.frozen
class Configuration:
    """The layers under the flags, strongest first, with everything that is wrong with them."""

    layers: tuple[Layer, ...] = ()
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """Our variables that are in force, sorted, from the environment and from ``.env``."""


def observe_configuration(
    *, environ: Mapping[str, str], directory: Path, config: str | None, user_file: Path
) -> Configuration:
    """Read every source. A broken file is an error beside the others, not an exception."""
    problems: list[Problem] = []

    def read(source: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return source()
        except BackpropError as error:
            problems.extend(error.problems)
            return {}

    dotenv = _ours(read(lambda: read_dotenv(directory / DOTENV_FILE)))
    ours = _ours(environ)
    project = read(lambda: read_toml(directory / (config or PROJECT_FILE), required=config is not None))
    user = read(lambda: read_toml(user_file))
    layers: list[Layer] = []
    for source, place, values in (
        (Source.ENVIRONMENT, "", ours),
        (Source.DOTENV, DOTENV_FILE, dotenv),
        (Source.CONFIG, config or PROJECT_FILE, project),
        (Source.USER, str(user_file), user),
    ):
        if not values:
            continue
        to_layer = environment_layer if source in (Source.ENVIRONMENT, Source.DOTENV) else table_layer
        layer, wrong = to_layer(values, known=_known(), source=source, place=place)
        layers.append(layer)
        problems.extend(wrong)
    return Configuration(
        layers=tuple(layers),
        errors=errors_among(problems),
        warnings=warnings_among(problems),
        variables=tuple(sorted({**dotenv, **ours}.items())),
    )


def _ours(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in variables.items() if name.upper().startswith(ENV_PREFIX)}


def _known() -> tuple[BoundOption, ...]:
    """Every setting that a source can name, loaded when a source says something: most often none does."""
    return options_of(import_module("backprop.plan.settings.verbs.config").EverySetting)
