"""Offloaded full fine-tuning against FSDP2 on the CPU, whose copies to and from the card are made to be copies."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp._fully_shard import _fsdp_param
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer.utils import add_fused_lm_head

from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.offload import host_bytes
from backprop.plan.memory.parameter import ParameterGroup
from backprop.plan.memory.predict import NotModelled, predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, MemoryOptimizer, TrainingShape
from tests.plan.memory.allocations import Allocations
from tests.plan.memory.test_predict import SMALL
from tests.plan.memory.triton import stand_in_for_triton

WIDE = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 5, "vocab_size": 320}
WORDY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 5, "vocab_size": 16384}
LONG = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 5, "vocab_size": 512}
OFFLOADED = TrainingShape(
    method=MemoryMethod.FULL,
    offload=True,
    optimizer=MemoryOptimizer.ADAMW_FOREACH,
    attention=AttentionKernel.EAGER,
    autocast=False,
    sequence=8,
)
IN_FP32 = attrs.evolve(OFFLOADED, fp32_weights=True)
BESIDE_THE_STEP = (TermName.WORKSPACE, TermName.INPUT)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield DeviceMesh("cpu", [0], mesh_dim_names=("shard",))
    dist.destroy_process_group()


def copy_as_to_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "_to_dtype_if_needed"
    cast = getattr(_fsdp_param, name)
    monkeypatch.setattr(_fsdp_param, name, lambda tensor, dtype: cast(tensor.clone(), dtype))


def sharded_model(mesh: DeviceMesh, training: TrainingShape, config: LlamaConfig) -> LlamaForCausalLM:
    """Gradients leave as soon as they are made, as to the host."""
    model = LlamaForCausalLM(config).to(torch.float32 if training.fp32_weights else torch.bfloat16)
    add_fused_lm_head(model)
    if training.checkpoints:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    for part in (*model.model.layers, model):
        fully_shard(part, mesh=mesh, mp_policy=policy, offload_policy=CPUOffloadPolicy(pin_memory=False))
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda one: setattr(one, "grad", None))
    return model


def config_of(sizes: dict[str, int], *, tied: bool) -> LlamaConfig:
    return LlamaConfig(
        **sizes,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )


@pytest.mark.parametrize(
    ("training", "sizes", "tied", "moment"),
    [
        pytest.param(OFFLOADED, WIDE, False, "layer backward", id="layers"),
        pytest.param(IN_FP32, WIDE, True, "layer backward", id="layers-in-fp32"),
        pytest.param(
            attrs.evolve(OFFLOADED, checkpoints=False, batch=2), WIDE, False, "layer backward", id="last-layer-but-one"
        ),
        pytest.param(OFFLOADED, WORDY, False, "loss", id="words"),
        pytest.param(OFFLOADED, WORDY, True, "loss", id="words-tied"),
        pytest.param(IN_FP32, WORDY, False, "end of backward", id="words-in-fp32"),
        pytest.param(
            attrs.evolve(OFFLOADED, checkpoints=False, sequence=96, batch=2), LONG, False, "loss", id="all-saved"
        ),
    ],
)
def test_a_step_allocates_what_is_predicted(
    training: TrainingShape,
    sizes: dict[str, int],
    tied: bool,
    moment: str,
    mesh: DeviceMesh,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    stand_in_for_triton(monkeypatch)
    copy_as_to_a_card(monkeypatch)
    config = config_of(sizes, tied=tied)
    model = sharded_model(mesh, training, config)
    tokens = torch.randint(3, 300, (training.batch, training.sequence))
    allocations = Allocations()
    for _ in range(2):  # the first pass sets FSDP up
        with allocations.measured():
            model(tokens, labels=tokens, fused_lm_head=True).loss.backward()
    plan = predict(MemoryShape.from_config(config.to_dict()), training)
    predicted = sum(term.bytes for term in plan.terms if term.name not in BESIDE_THE_STEP)
    assert plan.moment == moment
    # Where the layers' peak is compared processors differ: 0.5 % on one of Intel's, 1.3 % on one of AMD's.
    within = 0.015 if request.node.callspec.id == "layers" else 0.01
    assert predicted == pytest.approx(allocations.peak_bytes, rel=within)


@pytest.mark.parametrize(
    ("optimizer", "made"),
    [(MemoryOptimizer.ADAMW_FOREACH, torch.optim.AdamW), (MemoryOptimizer.SGD_PLAIN, torch.optim.SGD)],
)
def test_the_host_holds_weights_gradients_and_what_the_optimizer_takes(
    optimizer: MemoryOptimizer, made: type[torch.optim.Optimizer]
) -> None:
    """1000 and 4096 columns of 100 rows in fp32: pinned, the first takes 2^19 bytes and the second 2^21."""
    groups = (
        ParameterGroup(100_000, 4, 1, columns=1000),
        ParameterGroup(409_600, 4, 1, columns=4096),
    )
    weights = [torch.nn.Parameter(torch.randn(group.numel)) for group in groups]
    stepper = made(weights, lr=0.1, weight_decay=0.01)  # type: ignore[call-arg]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    stepper.step()
    allocations = Allocations()
    with allocations.measured():
        stepper.step()
    state = sum(state["exp_avg"].nbytes + state["exp_avg_sq"].nbytes for state in stepper.state.values() if state)
    expected = 2 * (2**19 + 2**21) + state + allocations.peak_bytes
    counted = host_bytes(groups, attrs.evolve(IN_FP32, optimizer=optimizer))
    assert counted == pytest.approx(expected, rel=0.001)


def test_offload_moves_what_it_takes_from_the_card_to_the_host() -> None:
    at_home = TrainingShape(method=MemoryMethod.FULL, sequence=512)
    kept, moved = (predict(SMALL, attrs.evolve(at_home, offload=offload)) for offload in (False, True))
    states = sum(term.bytes for term in kept.terms if term.name in (TermName.TRAINABLE_WEIGHTS, TermName.OPTIMIZER))
    assert kept.host_bytes == 0
    assert moved.peak_bytes < kept.peak_bytes - 0.8 * states
    assert moved.host_bytes > states


def test_more_layers_need_no_more_on_the_card_than_their_checkpoints() -> None:
    training = TrainingShape(method=MemoryMethod.FULL, offload=True)
    more = predict(attrs.evolve(SMALL, num_layers=SMALL.num_layers + 1), training)
    fewer = predict(SMALL, training)
    assert more.peak_bytes - fewer.peak_bytes == 2 * training.sequence * SMALL.hidden_size


def test_what_else_would_be_offloaded_is_refused() -> None:
    with pytest.raises(NotModelled, match="full fine-tuning of dense models"):
        predict(SMALL, TrainingShape(offload=True))
