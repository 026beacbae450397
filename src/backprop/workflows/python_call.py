"""The settings of a verb from the keyword arguments of its function in Python."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from backprop.plan.decision import Refused
from backprop.plan.errors import BackpropError
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Layer, Source, resolve

S = TypeVar("S")


def settings_of(kind: type[S], **values: Any) -> S:
    """The settings with ``values`` by the names of the settings; None leaves one at its default, paths become text.

    Raises ``BackpropError`` with CONFIG_INVALID_SETTING for each value that the command line would refuse too.
    """
    keys = {bound.name: bound.key for bound in options_of(kind)}
    given = {
        keys[name]: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in values.items()
        if value is not None
    }
    resolved = resolve(kind, [Layer(Source.CALL, "", given, typed=True)])
    if isinstance(resolved, Refused):
        raise BackpropError(*resolved.problems)
    return resolved.settings
