"""Trackers are off unless asked for, and missing packages are told before anything is loaded."""

from __future__ import annotations

import pytest

from backprop.plan.decision import Refused
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Tracker
from backprop.plan.training.arguments import sft_arguments
from backprop.plan.training.plan import plan_train
from backprop.plan.training.trackers import TRACKER_PACKAGES
from tests.plan.training.worlds import INSTALLED, planned, settings, world

ASKABLE = [tracker for tracker in Tracker if tracker is not Tracker.NONE]


def test_nothing_is_reported_to_unless_it_is_asked_for() -> None:
    everything = tuple((name, "1") for names in TRACKER_PACKAGES.values() for name in names)
    arguments = sft_arguments(planned(settings(), world(packages=(*INSTALLED, *everything))), staging_dir="x")
    assert arguments["report_to"] == "none"


@pytest.mark.parametrize("tracker", ASKABLE)
def test_a_missing_package_is_refused_by_name(tracker: Tracker) -> None:
    asked = settings(training={"report_to": (tracker,)})
    refused = plan_train(asked, world(), origins=Origins())
    assert isinstance(refused, Refused)
    (problem,) = refused.problems
    assert problem.code == "DEP_PACKAGE_MISSING"
    assert TRACKER_PACKAGES[tracker][0] in problem.message


@pytest.mark.parametrize(
    ("tracker", "package"), [(tracker, name) for tracker in ASKABLE for name in TRACKER_PACKAGES[tracker]]
)
def test_any_package_of_a_tracker_will_do_and_the_run_is_known_by_its_id(tracker: Tracker, package: str) -> None:
    asked = settings(training={"report_to": (tracker,)})
    plan = planned(asked, world(packages=(*INSTALLED, (package, "1"))))
    arguments = sft_arguments(plan, staging_dir="x", run_name="20260101-120000-aaaa")
    assert arguments["report_to"] == [tracker.value]
    assert arguments["run_name"] == "20260101-120000-aaaa"
