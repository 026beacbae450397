"""Training facts and settings, valid by construction."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.dataset import DataFacts, DatasetFacts, Ratings, RowCount, TokenFacts
from backprop.plan.facts.hardware import Gpu, HardwareFacts
from backprop.plan.facts.model import ModelFacts, ModelSource, TokenizerFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.lora import AdapterInit, LoraPreset, LoraSettings
from backprop.plan.settings.training import Optimizer, Scheduler, TrainingSettings, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.packages import TRAIN_PACKAGES

GIB = 2**30


@st.composite
def models(draw: st.DrawFn) -> ModelFacts:
    """One of the well-known models, on disk."""
    name = draw(st.sampled_from(sorted(ARCHITECTURES)))
    return facts_from_config(
        ARCHITECTURES[name], name=name, source=ModelSource.DIRECTORY, directory="/models/" + name, weights_bytes=10**9
    )


ROOM = 1 << 45
"""More free memory than any run of the strategies takes."""


@st.composite
def hardware(draw: st.DrawFn, *, is_roomy: bool = True) -> HardwareFacts:
    """A machine with or without a card; a roomy one has free memory without end, whatever its size."""
    vram = draw(st.sampled_from((8, 12, 16, 24, 32, 48, 80))) * GIB - draw(st.integers(0, GIB))
    gpu = Gpu(
        name="card",
        vram_total_bytes=vram,
        vram_free_bytes=ROOM if is_roomy else vram - draw(st.integers(0, vram // 2)),
        compute_capability=draw(st.sampled_from(((7, 5), (8, 0), (8, 9), (9, 0), (12, 0)))),
    )
    has_card = draw(st.booleans())
    return HardwareFacts(
        system="Linux",
        machine="x86_64",
        num_cpus=draw(st.integers(1, 64)),
        cpu_has_bf16=draw(st.booleans()),
        ram_total_bytes=32 * GIB,
        ram_available_bytes=ROOM if is_roomy else draw(st.integers(1, 30)) * GIB,
        disk_free_bytes=None,
        gpus=(gpu,) if has_card else (),
        gpus_absent="" if has_card else "NVML is not installed",
    )


@st.composite
def token_facts(draw: st.DrawFn) -> TokenFacts:
    """Rows that are all whole and all have a target."""
    lengths = draw(st.dictionaries(st.integers(8, 512), st.integers(1, 40), min_size=1, max_size=8))
    counts = tuple(sorted(lengths.items()))
    tokens = sum(length * rows for length, rows in counts)
    return TokenFacts(
        tokens=tokens,
        supervised_tokens=draw(st.integers(1, tokens)),
        length_counts=counts,
        longest_uncut=counts[-1][0],
        uncut_p50=counts[0][0],
        uncut_p90=counts[-1][0],
        uncut_p99=counts[-1][0],
        truncated=RowCount(0),
        without_target=RowCount(0),
        fully_supervised=RowCount(0),
        lost_targets=RowCount(0),
        unplaced_targets=RowCount(0),
        unended_targets=RowCount(0),
    )


@st.composite
def datasets(draw: st.DrawFn) -> DatasetFacts:
    """A clean data set of conversations."""
    tokens = draw(token_facts())
    return DatasetFacts(
        name="/data/rows.jsonl",
        files=("/data/rows.jsonl",),
        fingerprint="0" * 64,
        num_bytes=draw(st.integers(1, 10**9)),
        row_format="openai",
        rendering="chat template",
        rows=tokens.sequences,
        tokens=tokens,
        ratings=draw(st.none() | st.builds(Ratings, st.integers(0, 1000), st.integers(0, 1000))),
    )


TOKENIZER = TokenizerFacts(
    fingerprint="1" * 64,
    vocab_size=1000,
    bos_token=None,
    eos_token="</s>",
    eos_token_id=2,
    pad_token_id=2,
    chat_template="{{ messages }}",
    chat_template_name="the model's own",
)


@st.composite
def train_facts(draw: st.DrawFn, *, is_roomy: bool = True) -> TrainFacts:
    """A world in which training is possible, or, when not roomy, in which memory may be short."""
    packages = [("bitsandbytes", "0.50")] if draw(st.booleans()) else []
    packages += [(name, "1.0") for name in (*TRAIN_PACKAGES, "torchao")]
    return TrainFacts(
        model=draw(models()),
        tokenizer=TOKENIZER,
        data=DataFacts(train=draw(datasets()), heldout=draw(st.none() | datasets())),
        hardware=draw(hardware(is_roomy=is_roomy)),
        software=SoftwareFacts(python="3.11", packages=tuple(packages)),
    )


@st.composite
def preference_settings(draw: st.DrawFn) -> TrainSettings:
    """Settings of a preference method, with coefficients of any."""
    settings = draw(train_settings())
    positive = st.floats(1e-3, 100)
    training = attrs.evolve(
        settings.training,
        method=draw(st.sampled_from([method for method in Objective if method is not Objective.SFT])),
        orpo_beta=draw(positive),
        simpo_beta=draw(positive),
        simpo_gamma=draw(positive),
        kto_beta=draw(positive),
        kto_desirable_weight=draw(positive),
        kto_undesirable_weight=draw(positive),
        mode=draw(st.sampled_from(TrainMode)),
    )
    return attrs.evolve(settings, training=training)


@st.composite
def train_settings(draw: st.DrawFn) -> TrainSettings:
    """Settings that no fact can contradict."""
    by_epochs = draw(st.booleans())
    training = TrainingSettings(
        max_steps=None if by_epochs else draw(st.none() | st.integers(1, 10_000)),
        num_train_epochs=draw(st.floats(0.01, 20)) if by_epochs else None,
        per_device_train_batch_size=draw(st.none() | st.integers(1, 64)),
        gradient_accumulation_steps=draw(st.integers(1, 32)),
        learning_rate=draw(st.none() | st.floats(1e-7, 1e-2)),
        warmup_steps=draw(st.none() | st.integers(0, 100)),
        lr_scheduler_type=draw(st.sampled_from(Scheduler)),
        optim=draw(st.sampled_from((Optimizer.AUTO, Optimizer.ADAMW_TORCH, Optimizer.SGD))),
        eval_every=draw(st.none() | st.integers(1, 100)),
        early_stopping=draw(st.none() | st.integers(1, 5)),
        save_steps=draw(st.integers(1, 1000)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )
    lora = LoraSettings(
        preset=draw(st.sampled_from(LoraPreset)),
        r=draw(st.none() | st.integers(1, 512)),
        lora_alpha=draw(st.none() | st.floats(0.1, 1024)),
        use_dora=draw(st.booleans()),
        use_rslora=draw(st.booleans()),
        # LoftQ needs bitsandbytes, which not every world has.
        init_lora_weights=draw(st.sampled_from((AdapterInit.DEFAULT, AdapterInit.PISSA))),
    )
    # float8 weights and DoRA exclude one another.
    training = attrs.evolve(training, fp8=not lora.use_dora and draw(st.booleans()))
    data = DataSettings(dataset_name="/data/rows.jsonl", packing=draw(st.booleans()), shuffle=draw(st.booleans()))
    return attrs.evolve(TrainSettings(), training=training, lora=lora, data=data)
