"""Everything that says what a setting is, read once: variables, ``.env``, the project's file and the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from backprop.effects.files.user_config import DOTENV_FILE, PROJECT_FILE, read_dotenv, read_toml
from backprop.plan.decision import Problem, errors_among, warnings_among
from backprop.plan.errors import BackpropError
from backprop.plan.settings.option import ENV_PREFIX, options_of
from backprop.plan.settings.resolve import Layer, Source, environment_layer, table_layer
from backprop.plan.settings.verbs import EverySetting


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
    known = options_of(EverySetting)
    layers: list[Layer] = []
    problems: list[Problem] = []
    dotenv: dict[str, str] = {}
    try:
        dotenv = read_dotenv(directory / DOTENV_FILE)
    except BackpropError as error:
        problems.extend(error.problems)
    for variables, source, place in ((environ, Source.ENVIRONMENT, ""), (dotenv, Source.DOTENV, DOTENV_FILE)):
        layer, unknown = environment_layer(variables, known=known, source=source, place=place)
        layers.append(layer)
        problems.extend(unknown)
    project = directory / (config or PROJECT_FILE)
    files = (
        (project, Source.CONFIG, config or PROJECT_FILE, config is not None),
        (user_file, Source.USER, str(user_file), False),
    )
    for path, source, place, required in files:
        try:
            layer, unknown = table_layer(read_toml(path, required=required), known=known, source=source, place=place)
        except BackpropError as error:
            problems.extend(error.problems)
        else:
            layers.append(layer)
            problems.extend(unknown)
    ours = {k: v for k, v in {**dotenv, **environ}.items() if k.upper().startswith(ENV_PREFIX)}
    return Configuration(
        layers=tuple(layers),
        errors=errors_among(problems),
        warnings=warnings_among(problems),
        variables=tuple(sorted(ours.items())),
    )
