"""``backprop export``: an adapter or a model, turned into what is used elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import attrs

from backprop.effects.export.tensors import check_adapter_finite
from backprop.effects.store.layout import history_path, record_path
from backprop.plan.decision import Problem, Refused, errors_among, warning, warnings_among
from backprop.plan.errors import BackpropError, hint_for
from backprop.plan.export.ollama_name import part_from
from backprop.plan.export.plan import Exported, ExportPlan, Needed
from backprop.plan.export.report import ExportReport
from backprop.plan.export.request import check_request, export_card, safe_name
from backprop.plan.facts.absent import Absent
from backprop.plan.generation.facts import TargetFacts
from backprop.plan.settings.verbs.export import ExportSettings
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.export_card import described
from backprop.workflows.export_formats import FOLLOWING, FORMATS, Following, check_following
from backprop.workflows.export_sources import Sources, observe_source, observe_tensors
from backprop.workflows.request import Emit, Request

COMMAND = "export"


def run(request: Request[ExportSettings]) -> Outcome:
    """Refuse what can be refused, write, prove, and hand on. Raises ``BackpropError`` for what ends it on the way."""
    settings = request.settings
    begun = time.monotonic()
    plan = prepare(settings)
    if isinstance(plan, Refused):
        return refused(COMMAND, (*plan.problems, *request.warnings))
    written = _written(plan, request)
    report = ExportReport(
        format=plan.format,
        source=plan.source,
        base=plan.base_name,
        output=plan.output_dir,
        files=written.files,
        num_bytes=sum(file.num_bytes for file in written.files),
        seconds=time.monotonic() - begun,
        checks=written.checks,
        untied=written.untied,
    )
    warnings = [*request.warnings, *plan.warnings, *written.warnings]
    for following in FOLLOWING:
        if following.is_asked(settings):
            report, doubts = _handed_on(following, settings, plan, report, request.emit)
            warnings += doubts
    return ok(COMMAND, report, warnings=tuple(warnings))


def _written(plan: ExportPlan, request: Request[ExportSettings]) -> Exported:
    if plan.adapter is not None:
        check_adapter_finite(plan.adapter)
    try:
        return FORMATS[plan.format].write(plan, Path(plan.output_dir), emit=request.emit)
    except MemoryError as short:
        message = f"Memory ran out while {plan.output_dir} was written; nothing of it remains."
        hint = "End other programs, and export again."
        raise BackpropError(Problem("RUNTIME_EXPORT_FAILED", message, where=plan.output_dir, hint=hint)) from short


def _handed_on(
    following: Following, settings: ExportSettings, plan: ExportPlan, report: ExportReport, emit: Emit
) -> tuple[ExportReport, tuple[Problem, ...]]:
    """Do what follows the export; a failure says that the export stands, and how to go on from it."""
    try:
        return following.do(settings, plan, report, emit)
    except BackpropError as failed:
        first, *others = failed.problems
        again = following.again(settings, plan, report)
        message = f"{first.message} The export stands in {plan.output_dir}."
        hint = f"{hint_for(first)} Go on with `{again}`." if again else first.hint
        raise BackpropError(attrs.evolve(first, message=message, hint=hint), *others) from failed


def prepare(settings: ExportSettings) -> ExportPlan | Refused:
    """Look at the source and its base, and plan; no tensor is read. Raises ``BackpropError`` from the Hub."""
    problems = check_request(settings)
    if errors_among(problems):
        return Refused(problems)
    target = observe_source(settings)
    if isinstance(target, Absent):
        return Refused((target.problem, *problems))
    format = FORMATS[settings.format]
    sources = observe_tensors(settings, target, needed=format.needed)
    if isinstance(sources, Refused):
        return sources
    plan = described(_planned(settings, sources))
    found = (*problems, *_check_base_name(settings, target), *format.check(plan), *check_following(settings, plan))
    return Refused(found) if errors_among(found) else attrs.evolve(plan, warnings=warnings_among(found))


def _check_base_name(settings: ExportSettings, target: TargetFacts) -> tuple[Problem, ...]:
    """A warning when --base names another model than the adapter; what does not fit was refused."""
    recorded, given = target.recorded_base, settings.base
    if FORMATS[settings.format].needed is Needed.NOTHING or recorded is None or given is None:
        return ()
    if _last(recorded) == _last(given):
        return ()
    message = f"The adapter says that its base is {recorded}; {given} is taken for it, since the adapter fits."
    hint = "Where one is a copy of the other nothing is wrong; else name the model that it was trained on."
    return (warning("INPUT_ADAPTER_MISMATCH", message, where="--base", hint=hint),)


def _last(name: str) -> str:
    return name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1].lower()


def _called(path: Path) -> str:
    """What PATH is called: in a run's output the run, for adapters are called alike in all of them."""
    given = path.absolute()
    in_run = history_path(given.parent).is_file() or record_path(given.parent).is_file()
    return given.parent.name if in_run else given.name


def _planned(settings: ExportSettings, sources: Sources) -> ExportPlan:
    adapter, merge = sources.adapter, sources.merge
    directory = adapter.directory if adapter else merge.base.directory if merge else ""
    out = Path(settings.output).expanduser() if settings.output else Path(directory) / settings.format.value
    called = _called(Path(settings.path).expanduser())
    name = safe_name(out.name if settings.output else called)
    plan = ExportPlan(
        format=settings.format,
        output_dir=str(out),
        name=name,
        adapter=adapter,
        merge=merge,
        quantization=settings.quantization,
        verify=settings.verify,
        model_card=None,
        base_model=settings.base_model,
        adapter_tag=settings.adapter_tag or part_from(Path(settings.path).expanduser().absolute().name),
        shape=sources.shape,
        llama_cpp_path=settings.llama_cpp_path,
    )
    if not settings.model_card:
        return plan
    return attrs.evolve(plan, model_card=export_card(plan.format, adapter, name=name, file=plan.gguf_name))
