"""Finding what an export is made from: the adapter or the model that PATH means, and the adapter's base."""

from __future__ import annotations

from pathlib import Path

import attrs

from backprop.effects.probe.adapter import observe_adapter, observe_base
from backprop.effects.probe.generation import observe_target
from backprop.effects.probe.model import observe_model
from backprop.effects.store.history import HistoryStore
from backprop.plan.decision import Problem, Refused
from backprop.plan.errors import BackpropError
from backprop.plan.export.merge import MergePlan, check_adapter, plan_merge
from backprop.plan.export.sources import AdapterFacts, BaseFacts
from backprop.plan.facts.absent import Absent
from backprop.plan.generation.facts import TargetFacts
from backprop.plan.settings.verbs.export import ExportSettings
from backprop.workflows.weights import weights_directory


def observe_source(settings: ExportSettings) -> TargetFacts | Absent:
    """The directory that PATH is or holds; else the adapter or the model of the run whose id it begins."""
    path = settings.path
    if Path(path).expanduser().exists() or not path or any(mark in path for mark in "/\\."):
        target = observe_target(path)
    else:
        try:
            record = HistoryStore(settings.run_dir).find(path, unknown_code="INPUT_VALIDATION_FAILED")
        except BackpropError as unknown:
            (problem,) = unknown.problems
            message = f"{path} is no directory. {problem.message}"
            hint = f"List the runs with `backprop runs -o {settings.run_dir}`, or name their directory with --run-dir."
            return Absent(attrs.evolve(problem, message=message, where="PATH", hint=hint))
        made = record.adapter or record.full_model
        if made is None:
            message = f"Run {record.run_id} has made nothing to export: it is {record.run_status.value}."
            hint = f"Finish it with `backprop resume {record.run_id}`."
            return Absent(Problem("INPUT_VALIDATION_FAILED", message, where="PATH", hint=hint))
        target = observe_target(str(Path(settings.run_dir) / made))
    return Absent(attrs.evolve(target.problem, where="PATH")) if isinstance(target, Absent) else target


def observe_tensors(
    settings: ExportSettings, target: TargetFacts, *, needs_base: bool
) -> tuple[AdapterFacts | None, MergePlan | None] | Refused:
    adapter = None
    if target.adapter_dir is not None:
        found = observe_adapter(target.adapter_dir)
        if isinstance(found, Absent):
            return Refused((found.problem,))
        adapter = found
        if not needs_base:
            problems = check_adapter(adapter)
            return Refused(problems) if problems else (adapter, None)
    base = _observe_base(settings, target, adapter)
    if isinstance(base, Absent):
        return Refused((base.problem,))
    merge = plan_merge(base, adapter)
    return merge if isinstance(merge, Refused) else (adapter, merge)


def _observe_base(settings: ExportSettings, target: TargetFacts, adapter: AdapterFacts | None) -> BaseFacts | Absent:
    """The base's files; those of a Hub model are brought here."""
    if adapter is None:
        assert target.model_dir is not None
        return observe_base(target.model_dir)
    name = settings.base or adapter.base_name
    if name is None:
        message = f"The adapter in {adapter.directory} does not say which base model it belongs to."
        hint = "Pass the model that it was trained on: --base MODEL."
        return Absent(Problem("INPUT_VALIDATION_FAILED", message, where="--base", hint=hint))
    model = observe_model(name)
    if isinstance(model, Absent):
        if settings.base:
            return Absent(attrs.evolve(model.problem, where="--base"))
        told = f"The base of the adapter in {adapter.directory} cannot be used: {model.problem.message}"
        hint = "Pass the model that it was trained on: --base MODEL."
        return Absent(attrs.evolve(model.problem, message=told, where="--base", hint=hint))
    commit = None if settings.base else adapter.base_commit
    return observe_base(weights_directory(model, commit=commit), name=name, commit=commit or model.commit)
