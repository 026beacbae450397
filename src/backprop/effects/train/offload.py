"""FSDP2 with CPU offload in one process: weights and states in host memory, a layer at a time on the card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import transformers

from backprop.effects.train.translation import translated
from backprop.plan.errors import BackpropError
from backprop.plan.training.offload import CollectiveBackend, OffloadPlan, fsdp_unavailable
from backprop.plan.training.plan import TrainPlan

if dist.is_available():  # builds without it train all the same, though not offloaded
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

BACKENDS = {CollectiveBackend.NCCL: "cpu:gloo,cuda:nccl", CollectiveBackend.GLOO: "gloo"}
"""Beside a card the shards lie in host memory, where NCCL cannot reach."""


@contextmanager
def process_group(plan: OffloadPlan | None, *, processes: int = 1) -> Iterator[None]:
    """A group of this process alone, which opens no port; nothing without offload, or where there is a larger group.

    Raises ``BackpropError`` DEP_FSDP_UNAVAILABLE where torch was built without the backend.
    """
    if plan is None or processes > 1:
        yield
        return
    check_available(plan)
    store = dist.HashStore()  # type: ignore[attr-defined]
    with translated("DEP_FSDP_UNAVAILABLE", "--full-ft-offload cannot run here"):
        dist.init_process_group(BACKENDS[plan.backend], store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_available(plan: OffloadPlan) -> None:
    """Raises ``BackpropError`` DEP_FSDP_UNAVAILABLE."""
    if not dist.is_available():
        raise BackpropError(fsdp_unavailable("this torch was built without torch.distributed."))
    if plan.backend is CollectiveBackend.NCCL and not dist.is_nccl_available():
        raise BackpropError(fsdp_unavailable("this torch was built without NCCL."))
    if dist.is_initialized():
        raise BackpropError(fsdp_unavailable("this process is part of a group of processes already."))


def shard(model: transformers.PreTrainedModel, plan: TrainPlan) -> None:
    """Shard each decoder layer, and what stands around them, in place, over a mesh of one device a process."""
    assert plan.offload is not None
    on_card = plan.offload.backend is CollectiveBackend.NCCL
    device = torch.device("cuda", 0) if on_card else torch.device("cpu")
    policy: dict[str, Any] = {
        "mesh": DeviceMesh(device.type, list(range(plan.batch.processes)), mesh_dim_names=("shard",)),
        "mp_policy": MixedPrecisionPolicy(param_dtype=getattr(torch, plan.precision.compute.value.value)),
        "offload_policy": CPUOffloadPolicy(pin_memory=on_card),
    }
    for layer in decoder_layers(model):
        fully_shard(layer, **policy)
    fully_shard(model, **policy)


def decoder_layers(model: transformers.PreTrainedModel) -> torch.nn.ModuleList:
    """The list of the model's decoder layers."""
    num_layers = model.config.get_text_config().num_hidden_layers
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == num_layers)
