"""What text is to be generated from: the adapter or model directory, the prompt, and the tokens that end an answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from backprop.effects.files.json_file import read_object
from backprop.effects.probe.tokenizer import ChatTokenizer
from backprop.effects.store.index import read_history
from backprop.plan.data.conversation import RowError
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.generation.facts import PromptFacts, TargetFacts
from backprop.plan.runs.course import resume_command

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
INSIDE = ("", "lora", "model", "adapter")
"""Where an adapter or a model is looked for: the directory itself, then what a run's output or record holds."""
PROBE_ANSWER = "answer"


def observe_target(path: str) -> TargetFacts | Absent:
    """The adapter or the model that ``path`` leads to; Absent carries INPUT_VALIDATION_FAILED."""
    top = Path(path).expanduser()
    if not top.exists():
        hint = "Give the --output of a train run, OUTPUT/runs/RUN_ID for that of one run, or an adapter directory."
        return _absent(f"{path} does not exist.", hint)
    if not top.is_dir():
        return _absent(f"{path} is not a directory.", "Give the directory that the adapter's files stand in.")
    for directory in _newest_first([top / inside for inside in INSIDE]):
        if (directory / ADAPTER_CONFIG).is_file():
            return _adapter(directory)
        if (directory / "config.json").is_file():
            return TargetFacts(model_dir=str(directory))
    looked_for = f"{ADAPTER_CONFIG} or config.json, there or in {', '.join(f'{name}/' for name in INSIDE if name)}"
    return _absent(
        f"{path} holds neither an adapter nor a model: there is no {looked_for}.",
        _way_on(top),
    )


def _way_on(top: Path) -> str:
    """What to do about an output directory, or the directory of a run, in which nothing is finished."""
    is_run = top.absolute().parent.name == "runs"
    output = top.absolute().parent.parent if is_run else top
    try:
        rows = [row for row in read_history(output).rows if not is_run or row.run_id == top.name]
    except BackpropError:
        rows = []
    stopped = next((row for row in rows if row.run_status.is_resumable), None)
    if stopped is None:
        return "If a run was to write there, see how it ended with `backprop runs -o DIR`."
    command = resume_command(stopped.run_id, output_dir=str(output))
    done = f"{stopped.steps_done} of {stopped.num_steps} steps"
    return f"Run {stopped.run_id} stopped after {done}; go on with `{command}`."


def _newest_first(places: list[Path]) -> list[Path]:
    """The same places; of an output's ``lora`` and ``model`` the one that was handed over last comes first."""
    before, (lora, model), after = places[:1], places[1:3], places[3:]
    both = lora.is_dir() and model.is_dir()
    is_newer = both and model.lstat().st_mtime_ns > lora.lstat().st_mtime_ns
    return [*before, *((model, lora) if is_newer else (lora, model)), *after]


def _adapter(directory: Path) -> TargetFacts | Absent:
    if not any((directory / name).is_file() for name in ADAPTER_WEIGHTS):
        return _absent(
            f"The adapter in {directory} has no weights: {ADAPTER_WEIGHTS[0]} is missing.", "Train it again."
        )
    try:
        config = read_object(directory / ADAPTER_CONFIG)
    except (OSError, ValueError) as damage:
        reason = damage.strerror if isinstance(damage, OSError) else f"it is {damage}"
        return _absent(f"{directory / ADAPTER_CONFIG} cannot be read: {reason}.", "Restore the file, or train again.")
    return TargetFacts(
        adapter_dir=str(directory),
        recorded_base=config.get("base_model_name_or_path") or None,
        recorded_commit=config.get("revision") or None,
        has_tokenizer=(directory / "tokenizer.json").is_file(),
    )


def read_prompt(given: str) -> str:
    """The prompt itself, or all of standard input for ``-``, without the newline at its end."""
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as damage:
        message = f"Standard input is not UTF-8 text: {damage.reason} at byte {damage.start}."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="PROMPT")) from damage


def observe_prompt(prompt: str, tokenizer: ChatTokenizer, *, raw: bool, model_dir: str | None) -> PromptFacts:
    """The prompt as tokens. Raises INPUT_CHAT_TEMPLATE_MISSING, or _INVALID when the template refuses it.

    ``model_dir`` is where the base's files stand; its configuration may name more tokens that end an answer.
    """
    if not raw and not tokenizer.has_template:
        raise BackpropError(
            Problem(
                "INPUT_CHAT_TEMPLATE_MISSING",
                "The prompt cannot be written as a conversation: the model has no chat template.",
                where="PROMPT",
                hint="Pass --raw to give the prompt as it is.",
            )
        )
    text = prompt if raw else _conversation(prompt, tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=raw).ids if prompt else []
    stops = {*_declared_stops(model_dir), *_end_of_turn(tokenizer)}
    if tokenizer.facts.eos_token_id is not None:
        stops.add(tokenizer.facts.eos_token_id)
    return PromptFacts(prompt=prompt, text=text, ids=tuple(ids), stop_ids=tuple(sorted(stops)))


def _conversation(prompt: str, tokenizer: ChatTokenizer) -> str:
    try:
        return tokenizer.render([{"role": "user", "content": prompt}], add_generation_prompt=True)
    except RowError as refusal:
        problem = Problem("INPUT_CHAT_TEMPLATE_INVALID", f"The prompt cannot be written: {refusal}.", where="PROMPT")
        raise BackpropError(problem) from refusal


def _end_of_turn(tokenizer: ChatTokenizer) -> Iterator[int]:
    """The token that the template writes after an answer, such as ``<|im_end|>``; often not the model's eos."""
    if not tokenizer.has_template:
        return
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE_ANSWER}]
    try:
        text = tokenizer.render(messages)
    except RowError:
        return
    after = text.rfind(PROBE_ANSWER) + len(PROBE_ANSWER)
    end = tokenizer.ends.right_after(text, after)
    if end is not None:
        ids = tokenizer.encode(text[after:end]).ids
        yield from ids[-1:]


def _declared_stops(model_dir: str | None) -> Iterator[int]:
    for name in ("generation_config.json", "config.json"):
        try:
            declared = read_object(Path(model_dir) / name).get("eos_token_id") if model_dir else None
        except (OSError, ValueError):
            continue
        yield from (id for id in (declared if isinstance(declared, list) else [declared]) if isinstance(id, int))


def _absent(message: str, hint: str) -> Absent:
    return Absent(Problem("INPUT_VALIDATION_FAILED", message, where="ADAPTER_PATH", hint=hint))
