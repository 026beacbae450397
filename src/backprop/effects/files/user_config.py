"""Where settings are written down: ``.env``, ``backprop.toml`` and the user's own file, and how they are changed.

What parses a format is loaded when there is a file of it: most commands find none.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from backprop.effects.files.atomic import write_atomic, writing
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

PROJECT_FILE = "backprop.toml"
DOTENV_FILE = ".env"


def user_config_file() -> Path:
    """The user's file; on Linux under XDG_CONFIG_HOME."""
    return user_config_path("backprop", appauthor=False) / "config.toml"


def read_toml(path: Path, *, required: bool = False) -> dict[str, Any]:
    """The tables of a TOML file, {} when there is none. Raises CONFIG_INVALID naming the line that is wrong."""
    text = _read_text(path, required=required)
    if not text:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:  # integers of thousands of digits, brackets thousands deep
        raise _invalid(path, f"is not valid TOML: {wrong}.") from wrong


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a ``.env`` file, {} when there is none. Raises CONFIG_INVALID naming the line that is wrong."""
    text = _read_text(path, required=False)
    if not text:
        return {}
    from dotenv.parser import parse_stream

    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise _invalid(path, f"cannot be read at line {binding.original.line}.")
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return variables


def write_user_config(path: Path, table: Mapping[str, Any]) -> None:
    """Replace the user's file, whole or not at all."""
    import tomli_w

    write_atomic(path, tomli_w.dumps(table))


def remove_user_config(path: Path) -> Path | None:
    """Rename the user's file to ``….bak``, in the place of an earlier one; None when there was none."""
    if not path.exists():
        return None
    kept = path.with_name(f"{path.name}.bak")
    with writing(kept):
        path.replace(kept)
    return kept


def _read_text(path: Path, *, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as missing:
        if required:
            raise _invalid(path, "does not exist.") from missing
        return ""
    except UnicodeDecodeError as wrong:
        raise _invalid(path, f"is not UTF-8 text (byte {wrong.start}).") from wrong
    except OSError as wrong:
        raise _invalid(path, f"cannot be read: {wrong.strerror}.") from wrong


def _invalid(path: Path, what: str) -> BackpropError:
    return BackpropError(Problem("CONFIG_INVALID", f"{path} {what}", where=str(path)))
