"""Records, rows and plans to test with, as a small run on a CPU has them."""

from __future__ import annotations

from typing import Any

from backprop.plan.decision import Refused
from backprop.plan.facts.dataset import DataFacts, DatasetFacts, Share, TokenFacts
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import LinearLayer, ModelFacts, ModelSource, TokenizerFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.runs.record import Fingerprints, RunRecord, summarize_facts
from backprop.plan.runs.row import RunKind, Worker
from backprop.plan.settings.resolve import Layer, Resolved, Source, resolve
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.fingerprint import fingerprint
from backprop.plan.training.plan import TrainPlan, plan_train

HARDWARE = HardwareFacts(
    system="Linux",
    machine="x86_64",
    num_cpus=2,
    cpu_has_bf16=True,
    ram_total_bytes=16 << 30,
    ram_available_bytes=12 << 30,
    disk_free_bytes=100 << 30,
    gpus_absent="no driver",
)
SOFTWARE = SoftwareFacts(python="3.11.9", packages=(("torch", "2.13.0"), ("transformers", "5.23.0"), ("trl", "1.16.0")))
MODEL = ModelFacts(
    name="/models/tiny",
    source=ModelSource.DIRECTORY,
    directory="/models/tiny",
    commit=None,
    model_type="llama",
    num_parameters=1_000_000,
    num_layers=2,
    hidden_size=64,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    intermediate_size=128,
    vocab_size=1000,
    tie_word_embeddings=True,
    max_position_embeddings=2048,
    linear_layers=(LinearLayer("q_proj", 64, 64), LinearLayer("v_proj", 64, 32)),
    weights_bytes=4_000_000,
    weights_dtype="float32",
)
TOKENIZER = TokenizerFacts(
    fingerprint="f" * 64,
    vocab_size=1000,
    bos_token=None,
    eos_token="<|end|>",
    eos_token_id=1,
    pad_token_id=0,
    chat_template="{{ messages }}",
    chat_template_name="the model's own",
)
_NONE = Share(0)
DATA = DataFacts(
    train=DatasetFacts(
        name="/data/rows.jsonl",
        files=("/data/rows.jsonl",),
        fingerprint="d" * 64,
        num_bytes=10_000,
        row_format="openai",
        rendering="chat template",
        rows=40,
        tokens=TokenFacts(
            tokens=4000,
            supervised_tokens=1500,
            length_counts=((100, 40),),
            longest_uncut=100,
            uncut_p50=100,
            uncut_p90=100,
            uncut_p99=100,
            truncated=_NONE,
            without_target=_NONE,
            fully_supervised=_NONE,
            lost_targets=_NONE,
            unplaced_targets=_NONE,
            unended_targets=_NONE,
        ),
    )
)
WORKER = Worker(pid=4242, started_at=1_795_549_082.5, hostname="forge")


def a_plan(**flags: str) -> TrainPlan:
    """A plan as the planner makes it, from flags given by configuration key with ``__`` for the dot."""
    layer = Layer(Source.FLAG, "", {key.replace("__", "."): text for key, text in flags.items()})
    resolved = resolve(TrainSettings, [layer])
    assert isinstance(resolved, Resolved)
    facts = TrainFacts(model=MODEL, tokenizer=TOKENIZER, data=DATA, hardware=HARDWARE, software=SOFTWARE)
    plan = plan_train(resolved.settings, facts, origins=resolved.origins)
    assert not isinstance(plan, Refused), plan
    return plan


PLAN = a_plan()


def a_record(run_id: str = "20261124-193802-k3f9", **changes: Any) -> RunRecord:
    """The record of a run that has just begun, with ``changes``."""
    fields: dict[str, Any] = {
        "run_id": run_id,
        "kind": RunKind.TRAIN,
        "created_at": "2026-11-24T19:38:02Z",
        "run_status": RunStatus.RUNNING,
        "worker": WORKER,
        "model": MODEL.name,
        "data": DATA.train.name,
        "num_steps": PLAN.length.steps.value,
        "plan": PLAN,
        "facts": summarize_facts(HARDWARE, SOFTWARE, MODEL, DATA),
        "fingerprints": Fingerprints(plan=fingerprint(PLAN), model="m" * 16, data="d" * 64),
    }
    return RunRecord(**(fields | changes))
