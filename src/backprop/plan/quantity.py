"""Numbers as a person reads them."""

from __future__ import annotations

GIB = 2**30


def gib(num_bytes: float) -> str:
    """``10.1 GiB``; memory is told in GiB everywhere, which is what drivers call GB."""
    return f"{num_bytes / GIB:.1f} GiB"


def counted(number: int, noun: str) -> str:
    """``1 step``, ``1,200 steps``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def quantity(number: float) -> str:
    """``134.5 M``: three or four digits that matter."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.1f} {unit}" if scaled < 1000 else f"{scaled:,.0f} {unit}"
    return f"{number:,.0f}"


def about(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 h``, ``2.1 days``: as exact as an estimate is."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            number = seconds / size
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{seconds:.0f} s"


def file_size(num_bytes: int) -> str:
    """``312 B``, ``9.8 kB``, ``269.1 MB``: the size of a file, in powers of ten as file managers tell it."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"
