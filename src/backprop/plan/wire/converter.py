"""The strict converters: every attrs value of the core to JSON and back, byte for byte the same meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.errors import BaseValidationError
from cattrs.strategies import configure_tagged_union

from backprop.plan.events import Event

T = TypeVar("T")


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, prefer_attrib_converters=False)
    configure_tagged_union(Event, converter, tag_name="event")
    return converter


_CONVERTER = _make_converter()


def to_data(value: Any, as_type: Any = None) -> Any:
    """``value`` as dicts, lists, strings, numbers, booleans and None. ``as_type`` names a union."""
    return _CONVERTER.unstructure(value, unstructure_as=as_type)


def from_data(data: Any, as_type: type[T]) -> T:
    """The inverse of :func:`to_data`; unknown keys and wrong types raise ``ValueError``."""
    try:
        return _CONVERTER.structure(data, as_type)
    except (BaseValidationError, KeyError, TypeError, AttributeError) as wrong:
        raise ValueError(f"not a {as_type}: {wrong}") from wrong


def canonical_json(data: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinities raise ``ValueError``."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def as_mapping(data: Any) -> Mapping[str, Any]:
    """``data`` if it is a JSON object, else ``ValueError``."""
    if not isinstance(data, Mapping):
        raise ValueError("not a JSON object")
    return data
