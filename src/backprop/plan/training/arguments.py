"""A plan as the arguments of TRL, PEFT and transformers: a pure function, so that what is printed is what runs."""

from __future__ import annotations

from typing import Any, Protocol

from backprop.plan.decision import Decision
from backprop.plan.facts.model import ModelFacts
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.full_precision import takes_own_adamw
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail


class Loadable(Protocol):
    """What loading a base model needs of a plan, be it of training or of generation."""

    @property
    def model(self) -> ModelFacts: ...

    @property
    def rail(self) -> Decision[Rail]: ...

    @property
    def precision(self) -> PrecisionPlan: ...

    @property
    def trust_remote_code(self) -> bool: ...


def sft_arguments(plan: TrainPlan, *, staging_dir: str) -> dict[str, Any]:
    """Keyword arguments of ``trl.SFTConfig``. ``staging_dir`` is where checkpoints are put together.

    Rows come tokenized, cut, masked, packed and in order, so everything that TRL would do to them is off.
    """
    on_cuda = plan.rail.value is Rail.CUDA
    compute = plan.precision.compute.value
    return {
        "output_dir": staging_dir,
        "max_steps": plan.length.steps.value,
        "per_device_train_batch_size": plan.batch.micro_batch.value,
        "gradient_accumulation_steps": plan.batch.accumulation.value,
        "learning_rate": plan.learning_rate.peak.value,
        "lr_scheduler_type": plan.learning_rate.scheduler.value.value,
        "warmup_steps": plan.learning_rate.warmup_steps.value,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.max_grad_norm,
        "optim": plan.optimizer.value.value,
        "bf16": on_cuda and compute is NumberFormat.BFLOAT16,
        "fp16": on_cuda and compute is NumberFormat.FLOAT16,
        "use_cpu": not on_cuda,
        "gradient_checkpointing": plan.gradient_checkpointing.value,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "packing": False,
        "padding_free": False,
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": on_cuda,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": plan.checkpoints.every.value,
        "save_total_limit": None,
        "report_to": "none",
        "disable_tqdm": True,
    }


def lora_arguments(adapter: AdapterPlan) -> dict[str, Any]:
    """Keyword arguments of ``peft.LoraConfig``."""
    return {
        "task_type": "CAUSAL_LM",
        "r": adapter.rank.value,
        "lora_alpha": adapter.alpha.value,
        "lora_dropout": adapter.dropout,
        "target_modules": list(adapter.targets.value),
        "use_dora": adapter.use_dora,
        "use_rslora": adapter.use_rslora,
        "bias": "none",
    }


def loss_arguments(plan: TrainPlan) -> dict[str, float]:
    """Keyword arguments of the loss of a preference method in effects/train/preference_loss.py; none for sft."""
    objective = plan.objective
    coefficients = {
        "beta": objective.beta,
        "gamma": objective.gamma,
        "desirable_weight": objective.desirable_weight,
        "undesirable_weight": objective.undesirable_weight,
    }
    return {name: decided.value for name, decided in coefficients.items() if decided is not None}


def own_optimizer_arguments(plan: TrainPlan) -> dict[str, Any] | None:
    """Keyword arguments of our own AdamW, which rounds stochastically and steps shards; None when it is not taken.

    The coefficients are those that transformers gives to ``adamw_torch``.
    """
    is_full = plan.adapter is None
    if not is_full or not takes_own_adamw(plan.optimizer.value, plan.precision, offloads=plan.offload is not None):
        return None
    return {"lr": plan.learning_rate.peak.value, "betas": (0.9, 0.999), "eps": 1e-8}


def load_arguments(plan: Loadable, *, in_host_memory: bool = False) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``; the data type by torch's name, as transformers takes it.

    ``in_host_memory`` leaves the weights there on every rail.
    """
    on_card = plan.rail.value is Rail.CUDA and not in_host_memory
    attention = {"attn_implementation": plan.attention.value.value} if isinstance(plan, TrainPlan) else {}
    return {
        **attention,
        "dtype": plan.precision.storage.value,
        "trust_remote_code": plan.trust_remote_code,
        **({"device_map": {"": 0}} if on_card else {}),
    }


def quantization_arguments(plan: Loadable) -> dict[str, Any] | None:
    """Keyword arguments of ``transformers.BitsAndBytesConfig``; None when the weights are not held in 4 bits."""
    if not plan.precision.load_in_4bit.value:
        return None
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": plan.precision.compute.value.value,
    }
