"""How much good and bad answers weigh in KTO: neither side may drown the other."""

from __future__ import annotations

from backprop.plan.decision import Decision, Problem, warning

LOWEST, HIGHEST = 1.0, 4 / 3
"""The band of the effective ratio (w_D · n_D) / (w_U · n_U), arXiv:2402.01306."""
MOST_RAISED = 10.0
"""A weight is raised to at most this many times what was asked for."""
_ROUNDING = 1e-9


def plan_balance(
    desirable: Decision[float], undesirable: Decision[float], *, num_desirable: int, num_undesirable: int
) -> tuple[Decision[float], Decision[float]]:
    """The weights asked for where their ratio is within the band; else one of them raised, never lowered.

    Both counts must be positive.
    """
    assert num_desirable > 0, "one-sided labels are refused before"
    assert num_undesirable > 0, "one-sided labels are refused before"
    good, bad = desirable.value * num_desirable, undesirable.value * num_undesirable
    ratio = good / bad
    counts = f"{num_desirable:,} good × {desirable.value:g} to {num_undesirable:,} bad × {undesirable.value:g}"
    if ratio < LOWEST - _ROUNDING:
        return _raised(desirable, LOWEST / ratio, f"{counts} is {ratio:.3g}", LOWEST), undesirable
    if ratio > HIGHEST + _ROUNDING:
        return desirable, _raised(undesirable, ratio / HIGHEST, f"{counts} is {ratio:.3g}", HIGHEST)
    return desirable, undesirable


def _raised(weight: Decision[float], factor: float, found: str, bound: float) -> Decision[float]:
    value = weight.value * min(factor, MOST_RAISED)
    if factor > MOST_RAISED:
        return Decision(value, "KTO balance, at most tenfold", f"{found}; it should be {bound:.3g} (arXiv:2402.01306).")
    return Decision(value, "KTO balance", f"{found}; raised to make it {bound:.3g} (arXiv:2402.01306).")


def check_balance(ratio: float) -> tuple[Problem, ...]:
    """A warning where the cap left the effective ratio outside of the band."""
    if LOWEST - _ROUNDING <= ratio <= HIGHEST + _ROUNDING:
        return ()
    few = "good" if ratio < LOWEST else "bad"
    message = (
        f"Good answers weigh {ratio:.3g} times as much as bad ones, outside of 1 to 4/3, "
        f"and a weight is raised at most {MOST_RAISED:g} times."
    )
    hint = f"Add rows with {few} answers, or take some of the others out."
    return (warning("CONFIG_INVALID_SETTING", message, where="--data", hint=hint),)
