"""What ``make bench`` measures of planning is what the program answers."""

from __future__ import annotations

from benchmarks.planning import CARD_SIZES, MACHINE, METHODS, MODELS, SOFTWARE, bound, model_named, plan_everywhere

from backprop.plan.decision import Refused
from backprop.plan.estimate.plan import EstimateFacts, plan_estimate
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings

MODEL = "Qwen/Qwen2.5-7B-Instruct"


def test_the_scan_says_of_an_adapter_that_it_fits_where_the_estimate_finds_a_batch() -> None:
    fits = iter(plan_everywhere(model_named(MODEL)))
    scanned = {(size, method.name): next(fits) for size in CARD_SIZES for method in METHODS}
    facts = EstimateFacts(model_named(MODEL), MACHINE, SOFTWARE)
    report = plan_estimate(EstimateVramSettings(name=MODEL), facts, origins=Origins())
    assert not isinstance(report, Refused)
    printed = {
        (row.vram_gb, way): bool(batch)
        for row in report.cards
        for way, batch in row.largest_batch
        if way in ("qlora", "lora")
    }
    assert len(printed) == 20
    assert printed.items() <= scanned.items()
    assert set(printed.values()) == {True, False}


def test_the_scan_is_as_large_as_it_says() -> None:
    assert (len(set(MODELS)), len(set(CARD_SIZES)), len({method.name for method in METHODS})) == (20, 10, 6)


def test_predictions_and_the_scan_are_bounded_and_nothing_else() -> None:
    assert bound("a prediction, qlora") == 200e-6
    assert bound("a scan of everything") == 2
    assert bound("an estimate, the first") is None
