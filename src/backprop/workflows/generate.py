"""``backprop generate``: did the fine-tune work? One prompt, answered by the adapter on its base."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from backprop.effects.executors import executor
from backprop.effects.probe.generation import observe_prompt, observe_target, read_prompt
from backprop.effects.probe.hardware import observe_hardware
from backprop.effects.probe.model import observe_model
from backprop.effects.probe.software import observe_software
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.decision import Refused
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts
from backprop.plan.generation.facts import PromptFacts, TargetFacts
from backprop.plan.generation.plan import Base, GenerationPlan, plan_base, plan_generation
from backprop.plan.generation.report import Completion, GenerationReport, cut_short
from backprop.plan.settings.verbs.generate import GenerateSettings
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.request import Request
from backprop.workflows.weights import weights_directory

COMMAND = "generate"


@attrs.frozen
class Prepared:
    """A generation that nothing stands in the way of, and what turns its tokens into text."""

    plan: GenerationPlan
    base: Base
    prompt: PromptFacts
    tokenizer: ChatTokenizer


def run(request: Request[GenerateSettings]) -> Outcome:
    """Check everything that can be checked without torch, load, generate. Writes nothing."""
    settings = request.settings
    prepared = prepare(settings)
    if isinstance(prepared, Refused):
        return refused(COMMAND, (*prepared.problems, *request.warnings))
    plan, prompt = prepared.plan, prepared.prompt
    generate = executor(plan.rail.value, "generate")
    base_dir = weights_directory(plan.model, commit=prepared.base.commit)
    continuations = generate(plan, str(base_dir), emit=request.emit)
    report = GenerationReport(
        adapter=plan.adapter_dir,
        base=plan.model.name,
        prompt=prompt.prompt,
        rendered_prompt=prompt.text,
        num_prompt_tokens=len(prompt.ids),
        temperature=settings.temperature,
        seed=settings.seed,
        completions=tuple(
            Completion(text_of(prepared, c.ids, raw=settings.raw), c.num_tokens, c.ending) for c in continuations
        ),
    )
    return ok(COMMAND, report, warnings=(*request.warnings, *plan.warnings, *cut_short(report)))


def prepare(settings: GenerateSettings) -> Prepared | Refused:
    """Look at the target, the base and the prompt, and plan. Raises ``BackpropError`` for what cannot be read."""
    target = observe_target(settings.adapter_path)
    if isinstance(target, Absent):
        return Refused((target.problem,))
    base = plan_base(settings, target)
    if isinstance(base, Refused):
        return base
    model = _observe_base(base, was_recorded=settings.base is None and target.model_dir is None)
    if isinstance(model, Absent):
        return Refused((model.problem,))
    tokenizer = _observe_tokenizer(target, model)
    prompt = observe_prompt(read_prompt(settings.prompt), tokenizer, raw=settings.raw, model_dir=model.directory)
    plan = plan_generation(
        settings,
        target=target,
        model=model,
        prompt=prompt,
        hardware=observe_hardware("."),
        software=observe_software(),
    )
    return plan if isinstance(plan, Refused) else Prepared(plan, base, prompt, tokenizer)


def _observe_base(base: Base, *, was_recorded: bool) -> ModelFacts | Absent:
    """The base's facts; one that is nowhere is the fault of --base, or of what the adapter records."""
    model = observe_model(base.name)
    if not isinstance(model, Absent):
        return model
    told = "The adapter's base model" if was_recorded else "The base model"
    missing = model.problem.code == "INPUT_MODEL_NOT_FOUND"
    return Absent(
        attrs.evolve(
            model.problem,
            code="INPUT_VALIDATION_FAILED" if missing else model.problem.code,
            message=f"{told} cannot be used: {model.problem.message}",
            where="--base",
            hint="Pass the model that the adapter was trained on: --base MODEL." if missing else model.problem.hint,
        )
    )


def _observe_tokenizer(target: TargetFacts, model: ModelFacts) -> ChatTokenizer:
    """The adapter's own tokenizer and template when it has them, else the base's."""
    directory = target.adapter_dir if target.has_tokenizer else model.directory
    if directory is None:
        assert model.files_absent is not None, "a model without files says why it has none"
        raise BackpropError(attrs.evolve(model.files_absent.problem, where="--base"))
    tokenizer = observe_tokenizer(directory, chat_template=None)
    if isinstance(tokenizer, Absent):
        raise BackpropError(attrs.evolve(tokenizer.problem, where=directory))
    return tokenizer


def text_of(prepared: Prepared, ids: Sequence[int], *, raw: bool = False) -> str:
    """The new text alone, without blanks around an answer; raw text keeps them.

    Some tokenizers drop a blank at the start of what they decode, so the prompt goes along.
    """
    decode, prompt_ids = prepared.tokenizer.decode, prepared.prompt.ids
    before, whole = decode(prompt_ids), decode((*prompt_ids, *ids))
    text = whole[len(before) :] if whole.startswith(before) else decode(ids)
    return text if raw else text.strip()
