"""The verdict over rates."""

from __future__ import annotations

import pytest

from backprop.plan.data.quality import Gates, Rate, Verdict, judge, share

FINE = {Rate.DUPLICATES: 0.0, Rate.EMPTY: 0.0, Rate.OUTLIERS: 0.0, Rate.INVALID: 0.0}
NONE = Gates()


def test_nothing_wrong_is_a_pass() -> None:
    judged = judge(FINE, NONE)
    assert (judged.verdict, judged.failed_thresholds, judged.tripped) == (Verdict.PASS, (), False)


@pytest.mark.parametrize(
    ("rate", "value", "verdict"),
    [
        (Rate.DUPLICATES, 0.10, Verdict.PASS),
        (Rate.DUPLICATES, 0.11, Verdict.WARN),
        (Rate.DUPLICATES, 0.25, Verdict.WARN),
        (Rate.DUPLICATES, 0.26, Verdict.FAIL),
        (Rate.CONTAMINATION, 0.01, Verdict.PASS),
        (Rate.CONTAMINATION, 0.011, Verdict.FAIL),
        (Rate.EMPTY, 0.02, Verdict.PASS),
        (Rate.EMPTY, 0.021, Verdict.WARN),
        (Rate.EMPTY, 0.051, Verdict.FAIL),
        (Rate.OUTLIERS, 0.05, Verdict.PASS),
        (Rate.OUTLIERS, 1.0, Verdict.WARN),
        (Rate.INVALID, 0.001, Verdict.WARN),
    ],
)
def test_a_threshold_is_exceeded_above_it_and_not_at_it(rate: Rate, value: float, verdict: Verdict) -> None:
    judged = judge({**FINE, rate: value}, NONE)
    assert judged.verdict is verdict
    assert not judged.tripped, "thresholds advise"
    assert bool(judged.failed_thresholds) == (verdict is Verdict.FAIL)


def test_the_worst_of_several_decides() -> None:
    assert judge({**FINE, Rate.OUTLIERS: 0.5, Rate.EMPTY: 0.5}, NONE).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("rate", "gates", "flag"),
    [
        (Rate.DUPLICATES, Gates(fail_on_dups=0.1), "--fail-on-dups"),
        (Rate.CONTAMINATION, Gates(fail_on_contamination=0.1), "--fail-on-contamination"),
        (Rate.OUTLIERS, Gates(max_outlier_rate=0.1), "--max-outlier-rate"),
    ],
)
def test_a_gate_trips_above_its_limit_and_fails_whatever_the_thresholds_say(
    rate: Rate, gates: Gates, flag: str
) -> None:
    at = judge({**FINE, rate: share(3, 30)}, gates)
    assert not at.tripped
    above = judge({**FINE, rate: share(4, 30)}, gates)
    assert (above.tripped, above.verdict) == (True, Verdict.FAIL)
    assert flag in above.failed_thresholds[0]


def test_a_gate_of_nothing_trips_on_anything() -> None:
    assert judge({**FINE, Rate.DUPLICATES: 1e-6}, Gates(fail_on_dups=0.0)).tripped
    assert not judge(FINE, Gates(fail_on_dups=0.0, max_outlier_rate=0.0)).tripped


def test_a_rate_that_was_not_asked_for_trips_nothing() -> None:
    judged = judge(FINE, Gates(fail_on_contamination=0.0))
    assert (judged.verdict, judged.tripped) == (Verdict.PASS, False)
    assert [(check.value, check.verdict) for check in judged.rates if check.rate is Rate.CONTAMINATION] == [
        (None, None)
    ]


def test_an_error_of_the_file_is_a_warning_at_least_and_strict_makes_it_fail() -> None:
    fault = ("one-sided-labels: all 5 labels are true",)
    judged = judge(FINE, NONE, of_file=fault)
    assert (judged.verdict, judged.failed_thresholds, judged.tripped) == (Verdict.WARN, (), False)
    assert judge({**FINE, Rate.EMPTY: 0.5}, NONE, of_file=fault).verdict is Verdict.FAIL
    strict = judge(FINE, Gates(strict=True), of_file=fault)
    assert (strict.verdict, strict.tripped) == (Verdict.FAIL, True)
    assert strict.failed_thresholds == ("one-sided-labels: all 5 labels are true (--strict)",)


def test_strict_makes_a_warning_fail_and_leaves_a_pass_alone() -> None:
    warned = judge({**FINE, Rate.OUTLIERS: 0.5}, Gates(strict=True))
    assert (warned.verdict, warned.tripped) == (Verdict.FAIL, True)
    assert warned.failed_thresholds == ("outliers 0.5 > 0.05 (--strict)",)
    assert judge({**FINE, Rate.EMPTY: 0.5}, Gates(strict=True)).tripped
    assert not judge(FINE, Gates(strict=True)).tripped


def test_a_share_of_nothing_is_nothing() -> None:
    assert (share(0, 0), share(1, 4)) == (0.0, 0.25)
