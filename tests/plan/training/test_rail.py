"""Where a run computes, and what the MLX rail refuses."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.cli.style import Style
from backprop.cli.views.plan import show_plan
from backprop.plan.decision import Decision, Problem, Refused, Severity
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Backend, Optimizer, Tracker, TrainMode
from backprop.plan.training.plan import plan_train
from backprop.plan.training.rail import Rail, plan_rail
from tests.plan.training.worlds import (
    APPLE_MACHINE,
    CPU_MACHINE,
    INSTALLED,
    MLX_INSTALLED,
    card,
    from_flags,
    planned,
    settings,
    world,
)

INTEL_MAC = attrs.evolve(APPLE_MACHINE, machine="x86_64")
MAC: dict[str, Any] = {"hardware": APPLE_MACHINE, "packages": MLX_INSTALLED}


def rail(asked: Backend, hardware: HardwareFacts, *, mlx: bool = True) -> Decision[Rail] | Problem:
    software = SoftwareFacts(python="3.12", packages=(*INSTALLED, *(MLX_INSTALLED if mlx else ())))
    return plan_rail(asked, hardware, software, origins=Origins())


@pytest.mark.parametrize(
    ("hardware", "mlx", "expected"),
    [
        (APPLE_MACHINE, True, Rail.MLX),
        (APPLE_MACHINE, False, Rail.CPU),
        (INTEL_MAC, True, Rail.CPU),
        (CPU_MACHINE, True, Rail.CPU),
        (card(24), True, Rail.CUDA),
    ],
)
def test_auto_takes_the_card_then_the_apple_chip_then_the_processor(
    hardware: HardwareFacts, mlx: bool, expected: Rail
) -> None:
    found = rail(Backend.AUTO, hardware, mlx=mlx)
    assert isinstance(found, Decision)
    assert found.value is expected


def test_on_a_mac_without_mlx_the_processor_is_taken_and_the_way_to_the_chip_is_said() -> None:
    found = rail(Backend.AUTO, APPLE_MACHINE, mlx=False)
    assert isinstance(found, Decision)
    assert "pip install mlx-lm" in found.why


@pytest.mark.parametrize("hardware", [CPU_MACHINE, INTEL_MAC, card(24)])
def test_mlx_is_refused_off_apple_silicon(hardware: HardwareFacts) -> None:
    problem = rail(Backend.MLX, hardware)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.where) == ("CONFIG_INVALID_SETTING", "--backend")


def test_mlx_without_its_packages_is_refused_by_their_names() -> None:
    problem = rail(Backend.MLX, APPLE_MACHINE, mlx=False)
    assert isinstance(problem, Problem)
    assert problem.code == "DEP_MLX_UNAVAILABLE"
    assert "mlx and mlx-lm" in problem.message


@pytest.mark.parametrize(
    ("groups", "flag"),
    [
        ({"training": {"mode": TrainMode.FULL}}, "--mode"),
        ({"training": {"optim": Optimizer.ADAFACTOR}}, "--optim"),
        ({"training": {"optim": Optimizer.ADAMW_8BIT}}, "--optim"),
        ({"lora": {"use_dora": True}}, "--use-dora"),
        ({"model": {"load_in_4bit": True}}, "--load-in-4bit"),
        ({"training": {"fp16": True}}, "--fp16"),
    ],
)
@pytest.mark.parametrize("backend", [Backend.AUTO, Backend.MLX])
def test_what_the_mlx_rail_cannot_do_is_refused_by_its_flag(
    groups: dict[str, Any], flag: str, backend: Backend
) -> None:
    training = {"backend": backend, **groups.get("training", {})}
    asked = settings(**{**groups, "training": training})
    refused = plan_train(
        asked, world(**{**MAC, "packages": (*MLX_INSTALLED, ("bitsandbytes", "1"))}), origins=Origins()
    )
    assert isinstance(refused, Refused)
    problem = next(p for p in refused.problems if p.where == flag and "MLX rail" in p.message)
    assert problem.code == "CONFIG_INVALID_SETTING"


def test_quantized_weights_are_refused_on_the_mlx_rail() -> None:
    facts = world(**MAC)
    assert isinstance(facts.model, ModelFacts)
    stored = attrs.evolve(facts, model=attrs.evolve(facts.model, is_quantized=True))
    refused = plan_train(settings(), stored, origins=Origins())
    assert isinstance(refused, Refused)
    assert any("stored quantized" in p.message for p in refused.problems)


def test_a_plan_for_the_mlx_rail_needs_no_torch_and_packs_nothing() -> None:
    plan = planned(settings(), world(**MAC))
    assert plan.rail.value is Rail.MLX
    assert not plan.batch.packing.value
    assert not plan.precision.load_in_4bit.value
    assert plan.precision.compute.value.value == "bfloat16"
    assert plan.memory is None
    assert [w.code for w in plan.warnings] == ["RUNTIME_MEMORY_UNKNOWN"]
    shown = show_plan(plan, Style(width=200))
    assert "torch's" not in shown
    assert "not modelled for the MLX rail" in shown


def test_trackers_have_no_effect_on_the_mlx_rail_and_that_is_said() -> None:
    plan = planned(
        settings(training={"report_to": (Tracker.WANDB,)}),
        world(**MAC),
        from_flags(training__report_to="--report-to"),
    )
    assert plan.trackers == ()
    (told,) = (w for w in plan.warnings if w.where == "--report-to")
    assert told.severity is Severity.WARNING
    assert "--backend mlx" in told.message
