"""What the run minimises: the method with its coefficients, and what does not go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.facts.dataset import DatasetFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.option import BoundOption, options_of, value_at
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings, TrainMode
from backprop.plan.training.chosen import name_of, set_by
from backprop.plan.training.kto_balance import check_balance, plan_balance


@attrs.frozen
class ObjectivePlan:
    """The method and the coefficients that it has; those of other methods are None.

    ORPO, arXiv:2403.07691; SimPO, arXiv:2405.14734; KTO, arXiv:2402.01306. The formulas stand in
    effects/train/preference_loss.py.
    """

    method: Decision[Objective]
    beta: Decision[float] | None = None
    gamma: Decision[float] | None = None
    desirable_weight: Decision[float] | None = None
    undesirable_weight: Decision[float] | None = None


SUPERVISED = ObjectivePlan(Decision(Objective.SFT, "default", "The answers of the data are learned."))

_WHY = {
    Objective.SFT: "The answers of the data are learned.",
    Objective.ORPO: "The chosen answers are learned, and preferred by the ratio of their odds (arXiv:2403.07691).",
    Objective.SIMPO: "The chosen answers' mean log-probability is to be larger by a margin (arXiv:2405.14734).",
    Objective.KTO: "Good answers are to be likelier than in the base model, bad ones less (arXiv:2402.01306).",
}
_OF_METHOD: Mapping[Objective, tuple[str, ...]] = {
    Objective.ORPO: ("orpo_beta",),
    Objective.SIMPO: ("simpo_beta", "simpo_gamma"),
    Objective.KTO: ("kto_beta", "kto_desirable_weight", "kto_undesirable_weight"),
}
"""The settings of the TRAINING group that only one method heeds."""
_WHY_COEFFICIENT = {
    "orpo_beta": "The odds ratio counts for a tenth beside the likelihood (arXiv:2403.07691).",
    "simpo_beta": "At the lower end of what the authors found best, 2.0 to 2.5 (arXiv:2405.14734).",
    "simpo_gamma": "Half of the default beta, where the authors begin (arXiv:2405.14734).",
    "kto_beta": "The scale of the rewards in the paper's runs (arXiv:2402.01306).",
    "kto_desirable_weight": "Good and bad answers weigh the same.",
    "kto_undesirable_weight": "Good and bad answers weigh the same.",
}


def plan_objective(settings: TrainingSettings, data: DatasetFacts, *, origins: Origins) -> ObjectivePlan:
    """The method with the coefficients asked for; KTO's weights are balanced where there are answers of both kinds."""
    method = settings.method
    decided = set_by(origins, "training.method", method) or Decision(method, "default", _WHY[method])
    decided = attrs.evolve(decided, why=_WHY[method])
    if method is Objective.SFT:
        return ObjectivePlan(decided)
    coefficients = {name: _coefficient(settings, name, origins) for name in _OF_METHOD[method]}
    if method is Objective.KTO:
        return _kto(decided, coefficients, data)
    return ObjectivePlan(decided, beta=coefficients[f"{method.value}_beta"], gamma=coefficients.get("simpo_gamma"))


def _coefficient(settings: TrainingSettings, name: str, origins: Origins) -> Decision[float]:
    value = getattr(settings, name)
    return set_by(origins, f"training.{name}", value) or Decision(value, "default", _WHY_COEFFICIENT[name])


def _kto(method: Decision[Objective], coefficients: Mapping[str, Decision[float]], data: DatasetFacts) -> ObjectivePlan:
    good, bad, rated = coefficients["kto_desirable_weight"], coefficients["kto_undesirable_weight"], data.ratings
    if rated is not None and rated.desirable and rated.undesirable:
        good, bad = plan_balance(good, bad, num_desirable=rated.desirable, num_undesirable=rated.undesirable)
    return ObjectivePlan(method, beta=coefficients["kto_beta"], desirable_weight=good, undesirable_weight=bad)


def check_coefficients(plan: ObjectivePlan, data: DatasetFacts, *, origins: Origins) -> tuple[Problem, ...]:
    """A margin that is too large, ratings of one kind, weights that could not be balanced."""
    rated = data.ratings
    if plan.desirable_weight is None or plan.undesirable_weight is None or rated is None:
        return _check_margin(plan, origins)
    if not rated.desirable or not rated.undesirable:
        return (_one_sided(rated.desirable, rated.undesirable, data.name),)
    good, bad = plan.desirable_weight.value * rated.desirable, plan.undesirable_weight.value * rated.undesirable
    return check_balance(good / bad)


def _one_sided(desirable: int, undesirable: int, name: str) -> Problem:
    if not desirable and not undesirable:
        return Problem("INPUT_TARGETS_EMPTY", f"No row of {name} would be learned.", where="--data")
    kind, count = ("good", desirable) if desirable else ("bad", undesirable)
    other = "bad" if desirable else "good"
    return Problem(
        "INPUT_DATASET_INVALID",
        f"All {count:,} answers of {name} that would be learned are {kind}: KTO compares good answers with bad ones.",
        where="--data",
        hint=f"Add rows with {other} answers (label: {'false' if desirable else 'true'}), or use --method sft.",
    )


def _check_margin(plan: ObjectivePlan, origins: Origins) -> tuple[Problem, ...]:
    if plan.gamma is None or plan.beta is None or plan.gamma.value <= plan.beta.value:
        return ()
    key = "training.simpo_gamma" if origins.of("training.simpo_gamma") else "training.simpo_beta"
    return (
        warning(
            "CONFIG_INVALID_SETTING",
            f"gamma / beta is {plan.gamma.value / plan.beta.value:.3g}: past 1 the model may begin to repeat itself.",
            where=name_of(origins, key, "--simpo-gamma"),
            hint="Lower --simpo-gamma to about half of --simpo-beta.",
        ),
    )


@attrs.frozen
class _Refusal:
    """A setting that some methods cannot go with."""

    methods: frozenset[Objective]
    applies: Callable[[Any], bool]
    why: str
    hint: str


_PREFERENCE = frozenset(Objective) - {Objective.SFT}
_REFUSALS: Mapping[str, _Refusal] = {
    "training.mode": _Refusal(
        _PREFERENCE,
        lambda mode: mode is TrainMode.FULL,
        "trains an adapter, not every weight",
        "Use --mode lora, or --method sft.",
    ),
    "training.fp8": _Refusal(
        _PREFERENCE, bool, "is not carried out in float8", "Leave out --fp8, or use --method sft."
    ),
    "data.reasoning_trace": _Refusal(
        _PREFERENCE,
        bool,
        "compares answers, and traces are learned by sft alone",
        "Leave out --reasoning-trace, or use --method sft.",
    ),
    "lora.init_lora_weights": _Refusal(
        frozenset({Objective.KTO}),
        lambda init: str(getattr(init, "value", init)) in ("pissa", "loftq"),
        "compares with the base model, and this start of the adapter changes the base",
        "Leave out --init-lora-weights, or use another --method.",
    ),
}
"""By configuration key; a key that no setting has refuses nothing."""
_INERT: Mapping[str, bool] = {"data.train_on_prompt": True, "data.packing": True}
"""Switches without effect on preference methods, and the position that they are named in."""


def check_objective(settings: Any, *, method: Objective, origins: Origins) -> tuple[Problem, ...]:
    """What of the other settings does not go with the method, and what has no effect with it."""
    return tuple(_against(settings, method, origins))


def _against(settings: Any, method: Objective, origins: Origins) -> Iterator[Problem]:
    others = {name for other, names in _OF_METHOD.items() if other is not method for name in names}
    for bound in options_of(settings.__class__):
        value, origin = value_at(settings, bound), origins.of(bound.key)
        name = origin.name if origin else bound.flag
        refusal = _REFUSALS.get(bound.key)
        if refusal is not None and method in refusal.methods and refusal.applies(value):
            message = f"--method {method.value} {refusal.why}."
            yield Problem("CONFIG_INVALID_SETTING", message, where=name, hint=refusal.hint)
        if _is_idle(bound, value, others, method, is_set=origin is not None):
            yield warning(
                "CONFIG_INVALID_SETTING",
                f"{name} has no effect with --method {method.value}.",
                where=name,
                hint="Leave it out, or choose another --method.",
            )


def _is_idle(bound: BoundOption, value: Any, others: set[str], method: Objective, *, is_set: bool) -> bool:
    is_given = is_set or value != bound.default
    if bound.group == "training" and bound.name in others:
        return is_given
    return method is not Objective.SFT and bound.key in _INERT and is_given and value is _INERT[bound.key]
