"""The installed packages that a plan depends on, by distribution name."""

from __future__ import annotations

import attrs


@attrs.frozen
class SoftwareFacts:
    """Python's version and the versions of the packages that matter; an absent package is not in the table."""

    python: str
    packages: tuple[tuple[str, str], ...]
    """(distribution name, version), sorted by name."""

    def version(self, name: str) -> str | None:
        """The installed version of a distribution, or None."""
        return dict(self.packages).get(name)

    def has(self, name: str) -> bool:
        """Whether a distribution is installed."""
        return self.version(name) is not None
