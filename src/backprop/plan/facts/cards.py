"""Published figures of common NVIDIA cards, for estimates made before anything is measured.

Dense tensor throughput in bfloat16 (float16 on Turing and Volta) with float32 accumulation, without sparsity: NVIDIA's
architecture white papers (Volta, Turing GA102, Ada AD102, Blackwell GB202) and the cards' data sheets.
"""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class Card:
    """A card as it is sold."""

    name: str
    pattern: str
    """Regular expression that finds it in the name that the driver gives."""
    vram_gib: int
    half_tflops: float
    """Dense tensor TFLOP/s in half precision with float32 accumulation."""
    float32_tflops: float
    """TFLOP/s in float32 outside of the tensor cores."""
    has_bf16: bool = True
    """Turing and Volta have none."""


CARDS: tuple[Card, ...] = (
    Card("RTX 3060", r"RTX 3060\b(?! Ti)", 12, 25.5, 12.7),
    Card("RTX 3070", r"RTX 3070\b(?! Ti)", 8, 40.6, 20.3),
    Card("RTX 3080", r"RTX 3080\b(?! Ti)", 10, 59.5, 29.8),
    Card("RTX 3090", r"RTX 3090\b(?! Ti)", 24, 71.0, 35.6),
    Card("RTX 4060 Ti", r"RTX 4060 Ti", 16, 44.1, 22.1),
    Card("RTX 4070", r"RTX 4070\b(?! Ti| SUPER)", 12, 58.3, 29.1),
    Card("RTX 4080", r"RTX 4080\b(?! SUPER)", 16, 97.5, 48.7),
    Card("RTX 4090", r"RTX 4090\b(?! D)", 24, 165.2, 82.6),
    Card("RTX 5070 Ti", r"RTX 5070 Ti", 16, 87.9, 43.9),
    Card("RTX 5080", r"RTX 5080\b", 16, 112.6, 56.3),
    Card("RTX 5090", r"RTX 5090\b(?! D)", 32, 209.5, 104.8),
    Card("RTX A6000", r"RTX A6000", 48, 154.8, 38.7),
    Card("RTX 6000 Ada", r"RTX 6000 Ada", 48, 364.2, 91.1),
    Card("T4", r"\bT4\b", 16, 65.0, 8.1, has_bf16=False),
    Card("V100", r"V100", 32, 125.0, 15.7, has_bf16=False),
    Card("A10", r"\bA10\b", 24, 125.0, 31.2),
    Card("L4", r"\bL4\b", 24, 121.0, 30.3),
    Card("L40S", r"L40S", 48, 362.0, 91.6),
    Card("A100", r"A100", 80, 312.0, 19.5),
    Card("H100", r"\bH100\b(?!.*(PCIe|NVL))", 80, 989.4, 66.9),
    Card("H100 PCIe", r"\bH100 PCIe", 80, 756.0, 51.2),
    Card("H200", r"\bH200\b(?! NVL)", 141, 989.4, 66.9),
    Card("B200", r"\bB200\b", 180, 2250.0, 75.0),
)
"""Sizes are the card's nominal ones; where several are sold, the common one."""


def card_named(driver_name: str) -> Card | None:
    """The published card of that name; None for unknown ones, and for laptops, which share names and not figures."""
    if "Laptop" in driver_name or "Max-Q" in driver_name:
        return None
    return next((card for card in CARDS if re.search(card.pattern, driver_name, re.IGNORECASE)), None)
