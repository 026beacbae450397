"""Finding what an export is made from: the adapter or the model that PATH means, and the adapter's base."""

from __future__ import annotations

from pathlib import Path

import attrs

from backprop.effects.files.json_file import read_object
from backprop.effects.probe.adapter import observe_adapter, observe_base
from backprop.effects.probe.generation import observe_target
from backprop.effects.probe.model import observe_model, observe_shape
from backprop.effects.store.history import HistoryStore
from backprop.plan.decision import Problem, Refused
from backprop.plan.errors import BackpropError
from backprop.plan.export.merge import MergePlan, check_adapter, plan_merge
from backprop.plan.export.plan import Needed
from backprop.plan.export.sources import AdapterFacts, BaseFacts, BaseShape
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts
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


@attrs.frozen
class Sources:
    """What an export is made from; of adapter and merge at least one is there."""

    adapter: AdapterFacts | None = None
    merge: MergePlan | None = None
    shape: BaseShape | None = None


def observe_tensors(settings: ExportSettings, target: TargetFacts, *, needed: Needed) -> Sources | Refused:
    """The adapter and as much of its base as is needed; of a model that was trained as a whole every tensor."""
    if target.adapter_dir is None:
        assert target.model_dir is not None, "a target is an adapter or a model"
        return _merged(observe_base(target.model_dir), None)
    adapter = observe_adapter(target.adapter_dir)
    if isinstance(adapter, Absent):
        return Refused((adapter.problem,))
    if needed is not Needed.WEIGHTS and (problems := check_adapter(adapter)):
        return Refused(problems)
    if needed is Needed.NOTHING:
        return Sources(adapter)
    model = _base_of(adapter, settings, needs_weights=needed is Needed.WEIGHTS)
    if isinstance(model, Absent):
        return Refused((model.problem,))
    name = settings.base or adapter.base_name or model.name
    if needed is Needed.SHAPE:
        if model.directory is None:
            return Refused((_unusable(adapter, model.files_absent).problem,))
        return Sources(adapter, shape=BaseShape(name, read_object(Path(model.directory) / "config.json")))
    commit = None if settings.base else adapter.base_commit
    directory = weights_directory(model, commit=commit)
    return _merged(observe_base(directory, name=name, commit=commit or model.commit), adapter)


def _merged(base: BaseFacts | Absent, adapter: AdapterFacts | None) -> Sources | Refused:
    if isinstance(base, Absent):
        return Refused((base.problem,))
    merge = plan_merge(base, adapter)
    return merge if isinstance(merge, Refused) else Sources(adapter, merge)


def _base_of(adapter: AdapterFacts, settings: ExportSettings, *, needs_weights: bool) -> ModelFacts | Absent:
    """The base that --base names, else the adapter; a Hub model's description is brought here."""
    name = settings.base or adapter.base_name
    if name is None:
        message = f"The adapter in {adapter.directory} does not say which base model it belongs to."
        return Absent(Problem("INPUT_VALIDATION_FAILED", message, where="--base", hint=_BASE_HINT))
    model = observe_model(name) if needs_weights else observe_shape(name)
    if isinstance(model, Absent) and settings.base:
        return Absent(attrs.evolve(model.problem, where="--base"))
    return _unusable(adapter, model) if isinstance(model, Absent) else model


def _unusable(adapter: AdapterFacts, base: Absent | None) -> Absent:
    assert base is not None, "what has no directory says why"
    message = f"The base of the adapter in {adapter.directory} cannot be used: {base.problem.message}"
    return Absent(attrs.evolve(base.problem, message=message, where="--base", hint=_BASE_HINT))


_BASE_HINT = "Pass the model that it was trained on: --base MODEL."
