"""What a training run takes of the memory that it trains in, and what there is to take."""

from __future__ import annotations

import functools

import attrs

from backprop.plan.decision import Decision
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import FourBit, ModelFacts
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.device import Device
from backprop.plan.memory.evaluation import predict_evaluation
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.optimizer_state import memory_optimizer
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import NotModelled, predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.training import AdapterDtype, MemoryMethod, TrainingShape
from backprop.plan.settings.training import Optimizer
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.full_precision import takes_own_adamw
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail

HOPPER_WORKSPACE_BYTES = 2 * 32 * 2**20
"""cuBLAS takes 32 MiB for each of two handles from compute capability 9.0 on, 8.125 MiB before."""
PROCESS_BYTES = 700_000_000
"""The interpreter with torch, transformers, PEFT and TRL loaded, before there is a model."""
CPU_RESERVED_SHARE = 0.1
"""What the C library's allocator holds beyond the peak, for its pieces do not fit together: four runs of SmolLM2-135M
took between 14 % less and 1 % more than peak, share and process together."""


@attrs.frozen
class MemoryBudget:
    """The memory that a run trains in."""

    place: str
    """The card's name, or ``this machine``."""
    total_bytes: int
    free_bytes: int
    """What no other process holds at the moment."""
    host_free_bytes: int | None = None
    """Beside a card: the machine's memory that is free, for what is offloaded; None when unknown."""

    def holds(self, memory: MemoryPlan) -> bool:
        """Whether a run that takes ``memory`` fits."""
        fits_host = self.host_free_bytes is None or memory.host_bytes <= self.host_free_bytes
        return memory.needed_bytes <= self.free_bytes and fits_host


def budget_of(rail: Rail, hardware: HardwareFacts) -> MemoryBudget | None:
    """The primary card's memory, or the machine's on the CPU; None when nobody could say how much there is."""
    gpu = hardware.gpu
    if rail is Rail.CUDA:
        if gpu is None:
            return None
        return MemoryBudget(gpu.name, gpu.vram_total_bytes, gpu.vram_free_bytes, hardware.ram_available_bytes)
    total, available = hardware.ram_total_bytes, hardware.ram_available_bytes
    return None if total is None or available is None else MemoryBudget("this machine", total, available)


@attrs.frozen(cache_hash=True)
class Workload:
    """All that peak memory depends on, but for the micro-batch and whether activations are recomputed."""

    rail: Rail
    model: MemoryShape
    training: TrainingShape
    is_packed: bool
    longest_heldout: int | None = None
    """Tokens of the longest row that is evaluated between steps; None without evaluations."""
    is_counted: bool = True
    """The weights' format is one whose memory is counted."""
    first_weights_bytes: int = 0
    """Of the factors that an adapter began with, in host memory as long as the run goes on."""

    def memory(self, *, micro_batch: int, accumulation: int, checkpointing: bool) -> MemoryPlan | None:
        """The prediction for the worse of a training step and an evaluation; None where neither is modelled."""
        return _memory(self, micro_batch, accumulates=accumulation > 1, checkpointing=checkpointing)


@functools.lru_cache(maxsize=4096)
def _memory(workload: Workload, micro_batch: int, *, accumulates: bool, checkpointing: bool) -> MemoryPlan | None:
    if not workload.is_counted:
        return None
    training = attrs.evolve(
        workload.training,
        batch=micro_batch,
        accumulation=2 if accumulates else 1,  # more passes hold no more
        checkpoints=checkpointing,
        packed=workload.is_packed,
        pad_mask=workload.is_packed or micro_batch * workload.training.objective.sequences_per_row > 1,
    )
    longest = workload.longest_heldout or 0
    try:
        memory = predict(workload.model, training)
        # Over rows that are no longer than those of training, an evaluation takes less than a training step.
        if longest > training.sequence and not training.offload:
            evaluation = predict_evaluation(workload.model, training, longest=longest)
            memory = max(memory, evaluation, key=lambda plan: plan.peak_bytes)
    except NotModelled:
        return None
    first = workload.first_weights_bytes
    if workload.rail is Rail.CPU:
        return attrs.evolve(memory, context_bytes=PROCESS_BYTES + first, reserve_share=CPU_RESERVED_SHARE)
    return attrs.evolve(memory, host_bytes=memory.host_bytes + first)


def workload_of(
    model: ModelFacts,
    *,
    rail: Rail,
    hardware: HardwareFacts,
    precision: PrecisionPlan,
    adapter: AdapterPlan | None,
    optimizer: Optimizer,
    attention: Decision[AttentionKernel],
    sequence: int,
    is_packed: bool,
    longest_heldout: int | None = None,
    objective: Objective = Objective.SFT,
    offloads: bool = False,
) -> Workload:
    """The workload of a run over sequences of at most ``sequence`` tokens; without an adapter all weights train."""
    on_card = rail is Rail.CUDA
    gpu = hardware.gpu
    shape = TrainingShape(
        device=Device.CUDA if on_card else Device.CPU,
        method=_method(precision, adapter, stored=model.four_bit),
        objective=objective,
        offload=offloads and on_card,
        rank=adapter.rank.value if adapter else 1,
        targets=adapter.targets.value if adapter else (),
        adapter_dtype=AdapterDtype.FP32 if precision.scales_loss else AdapterDtype.AUTO,
        dropout=adapter is not None and adapter.dropout > 0,
        sequence=sequence,
        attention=attention.value,
        optimizer=memory_optimizer(
            optimizer, is_ours=adapter is None and takes_own_adamw(optimizer, precision, offloads=offloads)
        ),
        fp32_embedding_states=adapter is None,
        autocast=on_card and precision.compute.value is not NumberFormat.FLOAT32,
        fp32_weights=precision.storage is NumberFormat.FLOAT32,
        float8_layers=precision.float8.layers.value if precision.float8 else (),
        double_quantization=model.four_bit is not FourBit.PLAIN,
    )
    if gpu is not None and gpu.compute_capability is not None and gpu.compute_capability >= (9, 0):
        shape = attrs.evolve(shape, workspace_bytes=HOPPER_WORKSPACE_BYTES)
    return Workload(
        rail,
        MemoryShape.of(model),
        shape,
        is_packed,
        longest_heldout,
        is_counted=quantization_is_counted(model) and rail is not Rail.MLX,
        first_weights_bytes=adapter.first_weights_bytes if adapter else 0,
    )


def quantization_is_counted(model: ModelFacts) -> bool:
    """Whether the format that its weights are stored in is one whose memory is counted."""
    return not model.is_quantized or model.four_bit is not None


def _method(precision: PrecisionPlan, adapter: AdapterPlan | None, *, stored: FourBit | None) -> MemoryMethod:
    if adapter is None:
        return MemoryMethod.FULL
    in_4bit = precision.load_in_4bit.value or stored is not None
    if adapter.use_dora:
        return MemoryMethod.QDORA if in_4bit else MemoryMethod.DORA
    return MemoryMethod.QLORA if in_4bit else MemoryMethod.LORA
