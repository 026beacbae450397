"""The versions of the files that outlive a release, and how a record of an earlier one is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

INDEX_VERSION = 1
RECORD_VERSION = 1

Upgrade: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

UPGRADES: Mapping[int, Upgrade] = {}
"""For each record version before the current one, what makes a record of the next version from it."""


class NewerVersion(ValueError):
    """A file that a later backprop wrote: not damaged, and not ours to touch."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"schema version {found}; this backprop knows versions up to {known}")


def check_version(data: Mapping[str, Any], current: int) -> int:
    """The version that ``data`` declares. Raises ``ValueError`` without one, ``NewerVersion`` beyond ``current``."""
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"schema_version is {version!r}")
    if version > current:
        raise NewerVersion(version, current)
    return version


def upgrade(
    data: Mapping[str, Any], *, upgrades: Mapping[int, Upgrade] = UPGRADES, current: int = RECORD_VERSION
) -> Mapping[str, Any]:
    """A record's data as the current version has it; raises as :func:`check_version` does."""
    for version in range(check_version(data, current), current):
        data = {**upgrades[version](data), "schema_version": version + 1}
    return data
