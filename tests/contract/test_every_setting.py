"""Every setting changes what is done: the arguments of the libraries, the rows, or what the run does beside them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from transformers import TrainerControl, TrainerState

from backprop.effects.files.token_store import TokenStore
from backprop.effects.store.history import HistoryStore
from backprop.effects.train.loading import load_adapted
from backprop.effects.train.reporting import StepReporter
from backprop.effects.train.unsloth import wanted
from backprop.plan.data.order import epoch_order
from backprop.plan.decision import Decision
from backprop.plan.events import Event, Step
from backprop.plan.runs.retention import plan_retention
from backprop.plan.settings.option import BoundOption, options_of
from backprop.plan.settings.resolve import Layer, Resolved, Source, resolve
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.arguments import (
    load_arguments,
    lora_arguments,
    loss_arguments,
    own_optimizer_arguments,
    quantization_arguments,
    sft_arguments,
)
from backprop.plan.training.evaluation import EvaluationState, should_stop
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail
from backprop.workflows.observation import observed
from tests.e2e import test_interruption, test_train
from tests.effects.probe import test_hub
from tests.plan.training import test_ceiling
from tests.plan.training.worlds import card
from tests.tiny import make_tiny_model, write_conversations

FULL = PrecisionPlan(Decision(False, "", ""), Decision(NumberFormat.FLOAT32, "", ""))
ON_A_CARD = "the machine has a card"
TRACES = {"data.dataset_name": "{traces}", "data.reasoning_trace": "true"}
ON_A_HOPPER_CARD = "it multiplies float8"
WITH_UNSLOTH = "the machine has a card, and Unsloth is installed"
MACHINES = {ON_A_CARD: card(24), ON_A_HOPPER_CARD: card(80, (9, 0)), WITH_UNSLOTH: card(24)}
"""By what a setting needs; other settings see the machine that the test runs on."""
HOLDOUT = {"data.eval_split": "0.2"}
PAIRS = {"data.dataset_name": "{pairs}"}
ORPO, SIMPO = ({**PAIRS, "training.method": method} for method in ("orpo", "simpo"))
KTO = {"data.dataset_name": "{rated}", "training.method": "kto"}
CHANGES: dict[str, tuple[str, dict[str, str], str]] = {
    "model.name": ("{other_model}", {}, ""),
    "model.load_in_4bit": ("false", {}, ON_A_CARD),
    "model.max_seq_length": ("64", {"data.allow_truncation": "true"}, ""),
    "model.dtype": ("float32", {}, ON_A_CARD),
    "model.trust_remote_code": ("true", {}, ""),
    "data.dataset_name": ("{other_data}", {}, ""),
    "data.max_samples": ("7", {}, ""),
    "data.text_column": ("body", {"data.dataset_name": "{texts}", "data.chat_format": "raw"}, ""),
    "data.chat_format": ("raw", {"data.dataset_name": "{texts}"}, ""),
    "data.chat_template": ("llama3", {}, ""),
    "data.train_on_prompt": ("true", {}, ""),
    "data.reasoning_trace": ("true", {"data.dataset_name": "{traces}"}, ""),
    "data.min_trace_tokens": ("40", TRACES, ""),
    "data.max_trace_tokens": ("100", TRACES, ""),
    "data.shuffle": ("false", {}, ""),
    "data.packing": ("false", {"training.gradient_accumulation_steps": "1"}, ""),
    "data.eval_split": ("0.25", {}, ""),
    "training.output_dir": ("elsewhere", {}, ""),
    "training.max_steps": ("7", {}, ""),
    "training.num_train_epochs": ("3", {}, ""),
    "training.per_device_train_batch_size": ("3", {}, ""),
    "training.gradient_accumulation_steps": ("2", {}, ""),
    "training.learning_rate": ("0.001", {}, ""),
    "training.weight_decay": ("0.1", {}, ""),
    "training.warmup_steps": ("3", {}, ""),
    "training.warmup_ratio": ("0.05", {}, ""),
    "training.max_grad_norm": ("0.5", {}, ""),
    "training.optim": ("sgd", {}, ""),
    "training.lr_scheduler_type": ("linear", {}, ""),
    "training.logging_steps": ("3", {}, ""),
    "training.save_steps": ("5", {}, ""),
    "training.keep_checkpoints": ("1", {}, ""),
    "training.eval_every": ("5", HOLDOUT, ""),
    "training.early_stopping": ("3", HOLDOUT, ""),
    "training.bf16": ("false", {}, ON_A_CARD),
    "training.fp16": ("true", {}, ON_A_CARD),
    "training.seed": ("7", {}, ""),
    "training.backend": ("cpu", {}, ON_A_CARD),
    "training.use_unsloth": ("false", {}, WITH_UNSLOTH),
    "training.report_to": ("tensorboard", {}, ""),
    "training.mode": ("full", {}, ""),
    "training.method": ("orpo", SIMPO, ""),
    "training.orpo_beta": ("0.2", ORPO, ""),
    "training.simpo_beta": ("2.5", SIMPO, ""),
    "training.simpo_gamma": ("0.5", SIMPO, ""),
    "training.kto_beta": ("0.2", KTO, ""),
    "training.kto_desirable_weight": ("1.1", KTO, ""),
    "training.kto_undesirable_weight": ("0.9", KTO, ""),
    "training.full_ft_offload": ("true", {"training.mode": "full"}, ""),
    "lora.use_dora": ("true", {}, ""),
    "training.fp8": ("true", {}, ON_A_HOPPER_CARD),
    "lora.use_rslora": ("true", {}, ""),
    "lora.init_lora_weights": ("pissa", {}, ""),
    "lora.preset": ("fast", {}, ""),
    "lora.r": ("8", {}, ""),
    "lora.lora_alpha": ("8", {}, ""),
    "lora.lora_dropout": ("0.2", {}, ""),
    "lora.target_modules": ("q_proj", {}, ""),
    "lora.use_gradient_checkpointing": ("true", {}, ""),
    "lora.random_state": ("7", {}, ""),
}
"""A value for each setting, and the settings and the machine that it needs to matter."""

PERMISSIONS = {
    "data.allow_lost_targets": ({"data.dataset_name": "{thinking}", "data.chat_template": "{stripping}"}, "true"),
    "data.skip_bad_rows": ({"data.dataset_name": "{broken}"}, "true"),
    "data.max_bad_share": ({"data.dataset_name": "{broken}"}, "0.1"),
    "data.allow_truncation": ({"model.max_seq_length": "50"}, "true"),
}
"""Settings that only turn a refusal into a run."""

ELSEWHERE: dict[str, Callable[..., object]] = {
    "data.dataset_split": test_hub.test_the_split_that_was_asked_for_is_read,
    "training.full_ft_ceiling_billions": (
        test_ceiling.test_where_memory_would_do_the_refusal_says_so_and_how_to_raise_the_bound
    ),
    "config": test_train.test_a_configuration_file_sets_what_no_flag_does,
    "resume": test_interruption.test_a_run_that_is_continued_in_pieces_ends_where_the_whole_one_does,
    "dry_run": test_train.test_what_is_printed_by_a_dry_run_is_what_runs,
    "show_mask": test_train.test_the_masks_that_were_asked_for_are_shown_with_the_plan,
    "json": test_train.test_what_is_printed_by_a_dry_run_is_what_runs,
}
"""The tests that prove the others, each by setting it."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the values name."""
    directory = tmp_path_factory.mktemp("files")
    texts = directory / "texts.jsonl"
    rows = [
        {
            "text": f"Text number {i}.",
            "body": f"Another text, number {i}, is longer.",
            "messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"It is {i}."}],
        }
        for i in range(30)
    ]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs, rated = directory / "pairs.jsonl", directory / "rated.jsonl"
    pairs.write_text(
        "".join(json.dumps({"prompt": f"{i}?", "chosen": f"{i}, so.", "rejected": "No."}) + "\n" for i in range(30)),
        encoding="utf-8",
    )
    rated.write_text(
        "".join(json.dumps({"prompt": f"{i}?", "completion": f"{i}.", "label": i % 2}) + "\n" for i in range(30)),
        encoding="utf-8",
    )
    thinking = directory / "thinking.jsonl"
    turns = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "<think>Hm.</think>One."}]
    thinking.write_text((json.dumps({"messages": turns}) + "\n") * 30, encoding="utf-8")
    traces = directory / "traces.jsonl"
    with traces.open("w", encoding="utf-8") as file:
        for i in range(30):
            answer = f"<think>{'Hm. ' * i}</think>One."
            file.write(json.dumps({"messages": [turns[0], {"role": "assistant", "content": answer}]}) + "\n")
    broken = directory / "broken.jsonl"
    broken.write_text(write_conversations(directory / "whole.jsonl").read_text(encoding="utf-8") + "{\n", "utf-8")
    stripping = directory / "stripping.jinja"
    stripping.write_text(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        encoding="utf-8",
    )
    return {
        "model": str(make_tiny_model(directory / "model")),
        "other_model": str(make_tiny_model(directory / "other", layers=3)),
        "data": str(write_conversations(directory / "rows.jsonl")),
        "other_data": str(write_conversations(directory / "more.jsonl", rows=50)),
        "texts": str(texts),
        "pairs": str(pairs),
        "rated": str(rated),
        "thinking": str(thinking),
        "traces": str(traces),
        "broken": str(broken),
        "stripping": str(stripping),
    }


def resolved(values: dict[str, str], files: dict[str, str]) -> Resolved[TrainSettings]:
    filled = {key: text.format(**files) for key, text in values.items()}
    found = resolve(TrainSettings, [Layer(Source.FLAG, "", filled)])
    assert isinstance(found, Resolved), found
    return found


def done_with(values: dict[str, str], files: dict[str, str], machine: str) -> Any:
    """All that a run with these settings does, or the refusal."""
    base = {"model.name": "{model}", "data.dataset_name": "{data}"}
    found = resolved({**base, **values}, files)
    with observed(found.settings, origins=found.origins, keep_rows=True, emit=lambda _: None) as seen:
        # bfloat16 is what some processors take by themselves.
        hardware = MACHINES.get(machine, attrs.evolve(seen.facts.hardware, cpu_has_bf16=False))
        unsloth = (("unsloth", "2026.1"),) if machine == WITH_UNSLOTH else ()
        installed = (*seen.facts.software.packages, ("torchao", "any"), *unsloth)
        software = attrs.evolve(seen.facts.software, packages=installed)
        facts = attrs.evolve(seen.facts, hardware=hardware, software=software)
        plan = plan_train(found.settings, facts, origins=found.origins)
        if not isinstance(plan, TrainPlan):
            return plan
        assert seen.rows is not None
        return {
            "rows": (content(seen.rows.train), content(seen.rows.heldout)),
            "sft": sft_arguments(plan, staging_dir="staging"),
            "loss": (plan.objective.method.value, loss_arguments(plan)),
            "lora": plan.adapter and lora_arguments(plan.adapter),
            "adapter": plan.adapter and initial_weights(plan, plan.adapter),
            "full": (own_optimizer_arguments(plan), plan.offload and plan.offload.backend),
            "float8": plan.precision.float8 and plan.precision.float8.layers.value,
            "load": (plan.model.directory, load_arguments(plan), quantization_arguments(plan)),
            "loader": wanted(plan),
            "packed": plan.batch.packed_length.value if plan.batch.packed_length else None,
            "order": tuple(epoch_order(plan.length.sequences, seed=plan.seed, epoch=0, shuffle=plan.shuffle)),
            "kept": plan_retention(range(10), best_step=None, keep=plan.checkpoints.keep),
            "evaluated": plan.evaluation.every.value if plan.evaluation else None,
            "stops": plan.evaluation and should_stop(EvaluationState(1.0, 1, since_best=3), plan.evaluation),
            "reported": reported_steps(plan),
            "written to": HistoryStore(Path(plan.output_dir)).run_dir("20260101-120000-aaaa"),
        }


def initial_weights(plan: TrainPlan, adapter: AdapterPlan) -> str:
    """The adapter before its first step, in a few letters."""
    on_the_cpu = attrs.evolve(plan, rail=Decision(Rail.CPU, "", ""), precision=FULL)
    assert plan.model.directory is not None
    model, _ = load_adapted(attrs.evolve(on_the_cpu, adapter=adapter), plan.model.directory, checkpoint=None)
    digest = hashlib.sha256()
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def reported_steps(plan: TrainPlan) -> list[int]:
    """The first twelve steps that are told."""
    told: list[Event] = []
    reporter = StepReporter(plan, emit=told.append, tokens_in_step=lambda _: 1)
    for step in range(1, 13):
        state = TrainerState(global_step=step, max_steps=12)
        logs = {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-4}
        reporter.on_log(None, state, TrainerControl(), logs=logs)
    return [event.step for event in told if isinstance(event, Step)]


def content(rows: TokenStore) -> str:
    """The rows in a few letters."""
    digest = hashlib.sha256()
    for i in range(len(rows)):
        for part in rows.row(i):
            digest.update(bytes(part))
    return digest.hexdigest()


@pytest.mark.parametrize("bound", options_of(TrainSettings), ids=lambda bound: bound.key)
def test_every_setting_changes_what_is_done(bound: BoundOption, files: dict[str, str]) -> None:
    if bound.key in ELSEWHERE:
        text = inspect.getsource(ELSEWHERE[bound.key])
        assert f'"{bound.flag}"' in text or f"{bound.name}=" in text
    elif bound.key in PERMISSIONS:
        needed, value = PERMISSIONS[bound.key]
        refused, allowed = (done_with(v, files, "") for v in (needed, {**needed, bound.key: value}))
        assert not isinstance(refused, dict)
        assert isinstance(allowed, dict), allowed
    else:
        value, needed, machine = CHANGES[bound.key]
        before, after = done_with(needed, files, machine), done_with({**needed, bound.key: value}, files, machine)
        assert isinstance(before, dict), before
        assert isinstance(after, dict), after
        assert before != after
