"""Each way to begin and to scale an adapter: a step of plain torch's, what is handed over, what a resumed run makes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

from backprop.effects.train.decomposition import principal_factors
from backprop.effects.train.delta_adapter import load_trained
from backprop.effects.train.first_weights import adapted_layers
from backprop.effects.train.loading import load_adapted
from backprop.plan.decision import Decision
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.training import Optimizer
from backprop.plan.training.arguments import lora_arguments
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import Row, make_plan, make_rows, run
from tests.plan.training.worlds import card

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": AdapterInit.PISSA},
    "pissa, rslora": {"init_lora_weights": AdapterInit.PISSA, "use_rslora": True},
    "pissa, dora": {"init_lora_weights": AdapterInit.PISSA, "use_dora": True},
    "loftq": {"init_lora_weights": AdapterInit.LOFTQ},
    "loftq, dora": {"init_lora_weights": AdapterInit.LOFTQ, "use_dora": True},
    "qdora": {"use_dora": True},
}
IN_4BIT = ("loftq", "loftq, dora", "qdora")
COMPUTED = tuple(name for name in KINDS if "init_lora_weights" in KINDS[name])
NAMES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def plan_of(kind: str, model_dir: Path, rows: list[Row], **training: Any) -> TrainPlan:
    return make_plan(
        model_dir,
        rows,
        lora=KINDS[kind],
        model={"load_in_4bit": True} if kind == "qdora" else {},
        data={"packing": False},
        training={"logging_steps": 1, **training},
    )


def loaded(plan: TrainPlan) -> PeftModel:
    assert plan.model.directory is not None
    model, _ = load_adapted(plan, plan.model.directory, checkpoint=None)
    return model


class PlainLayer(torch.nn.Module):
    """A frozen linear layer with an adapter, from the papers' formulas."""

    def __init__(self, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float, *, dora: bool) -> None:
        super().__init__()
        self.weight, self.scale = weight, scale
        self.a, self.b = torch.nn.Parameter(a), torch.nn.Parameter(b)
        # arXiv:2402.09353, equation 5: m is a column of row lengths, and begins as those of W + s·B·A.
        length = (weight + scale * b @ a).norm(dim=1)
        self.m = torch.nn.Parameter(length.clone()) if dora else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        whole = self.weight + self.scale * self.b @ self.a
        if self.m is not None:
            # Section 4.3: the length in the denominator is a constant to the gradient.
            whole = (self.m / whole.norm(dim=1).detach())[:, None] * whole
        return functional.linear(x, whole)


def plain_model(plan: TrainPlan, start: PeftModel) -> Any:
    """The base with plain layers, whose frozen weights and first factors are those that the run begins with."""
    adapter = plan.adapter
    assert adapter is not None
    rank = adapter.rank.value
    divisor = math.sqrt(rank) if adapter.use_rslora else rank
    model = AutoModelForCausalLM.from_pretrained(plan.model.directory, dtype=torch.float32)
    model.requires_grad_(False)
    for name, layer in adapted_layers(start):
        parent, _, last = name.removeprefix("base_model.model.").rpartition(".")
        a, b = (part["default"].weight.detach().float().clone() for part in (layer.lora_A, layer.lora_B))
        plain = PlainLayer(frozen(layer), a, b, adapter.alpha.value / divisor, dora=adapter.use_dora)
        setattr(model.get_submodule(parent), last, plain)
    return model


def frozen(layer: Any) -> torch.Tensor:
    """The frozen weight as it is multiplied."""
    base = layer.get_base_layer()
    if hasattr(base.weight, "quant_state"):
        import bitsandbytes

        weight: torch.Tensor = bitsandbytes.functional.dequantize_4bit(base.weight.data, base.weight.quant_state)
        return weight.float()
    return base.weight.detach().clone()  # type: ignore[no-any-return]


def batch_loss(model: Any, rows: list[Row]) -> torch.Tensor:
    """Mean negative log-likelihood over the learned tokens, row by row."""
    total, count = torch.zeros(()), 0
    for ids, mask in rows:
        tokens = torch.tensor(ids)
        scores = functional.log_softmax(model(input_ids=tokens[None]).logits[0, :-1].float(), dim=-1)
        learned = torch.tensor(mask[1:], dtype=torch.bool)
        total = total - scores[torch.arange(len(ids) - 1), tokens[1:]][learned].sum()
        count += int(learned.sum())
    return total / count


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in IN_4BIT])
def test_a_step_is_that_of_plain_torch(kind: str, model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(4)
    rate = 0.5
    plan = plan_of(
        kind, model_dir, rows, max_steps=1, learning_rate=rate, warmup_steps=0, optim=Optimizer.SGD, weight_decay=0.0,
        max_grad_norm=1e9,
    )  # fmt: skip
    plain = plain_model(plan, loaded(plan))
    loss = batch_loss(plain, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    ours = run(plan, rows, tmp_path)
    assert ours.losses == pytest.approx([loss.item()], abs=1e-5)
    moved = 0.0
    for name, layer in plain.named_modules():
        if not isinstance(layer, PlainLayer):
            continue
        key = f"base_model.model.{name}"
        found = ours.weights(1)
        expected = {f"{key}.lora_A.weight": layer.a, f"{key}.lora_B.weight": layer.b}
        if layer.m is not None:
            expected[f"{key}.lora_magnitude_vector"] = layer.m
        for part, parameter in expected.items():
            # Of an adapter that holds its first factors, too, the trained ones come first.
            trained = found[part][tuple(slice(side) for side in parameter.shape)]
            assert parameter.grad is not None
            gradient = (parameter.detach() - trained) / rate
            torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=1e-5)
            moved = max(moved, gradient.abs().max().item())
    assert moved > 1e-3


@pytest.mark.parametrize("kind", IN_4BIT)
def test_a_step_over_4_bits_is_that_of_plain_torch_on_the_dequantized_weights(
    kind: str, model_dir: Path, tmp_path: Path
) -> None:
    """The adapter is held in bfloat16 there, so its gradients are seen before they are rounded into weights."""
    rows = make_rows(4)
    plan = plan_of(kind, model_dir, rows)
    ours = loaded(plan)
    plain = plain_model(plan, ours)
    batch_loss(plain, rows).backward()  # type: ignore[no-untyped-call]
    loss = batch_loss(ours, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    layers = dict(adapted_layers(ours))
    assert len(layers) == 14
    for name, layer in layers.items():
        twin = plain.get_submodule(name.removeprefix("base_model.model."))
        parts = [(layer.lora_A["default"].weight, twin.a), (layer.lora_B["default"].weight, twin.b)]
        if twin.m is not None:
            parts.append((layer.lora_magnitude_vector["default"].weight, twin.m))
        for mine, theirs in parts:
            torch.testing.assert_close(mine.detach().float(), theirs.detach(), rtol=0, atol=1e-5)
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-5)
    assert run(plan, rows, tmp_path).losses[0] == pytest.approx(loss.item(), abs=2e-3)


@pytest.mark.parametrize("kind", IN_4BIT)
def test_where_the_loss_is_scaled_the_adapter_is_float32_over_4_bits_too(
    kind: str, model_dir: Path, tmp_path: Path
) -> None:
    """A loss scaler unscales no bfloat16 gradients: a card without bfloat16 would fail in its first step."""
    rows = make_rows(4)
    plan = plan_of(kind, model_dir, rows, save_steps=2)
    float16 = Decision(NumberFormat.FLOAT16, "below compute capability 8.0", "")
    plan = attrs.evolve(plan, precision=attrs.evolve(plan.precision, compute=float16))
    whole = run(plan, rows, tmp_path / "whole")
    assert {tensor.dtype for tensor in whole.weights(4).values()} == {torch.float32}
    resumed = run(plan, rows, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-2")
    assert all(torch.equal(tensor, resumed.weights(4)[name]) for name, tensor in whole.weights(4).items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
@pytest.mark.parametrize("kind", ["lora", *IN_4BIT])
def test_float16_arithmetic_trains_on_a_card(kind: str, model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(4)
    plan = make_plan(
        model_dir,
        rows,
        machine=card(16, (7, 5)),
        lora=KINDS[kind],
        model={"load_in_4bit": kind in IN_4BIT},
        training={"logging_steps": 1, "max_steps": 12, "learning_rate": 2e-2},
    )
    assert plan.precision.compute.value is NumberFormat.FLOAT16
    losses = run(plan, rows, tmp_path).losses
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind: str, model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(4)
    losses = run(plan_of(kind, model_dir, rows, max_steps=12, learning_rate=2e-2), rows, tmp_path).losses
    assert losses[-1] < losses[0] - 0.1


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(3, 60)[None]).logits
    return found


@pytest.mark.parametrize("kind", [kind for kind in COMPUTED if kind not in IN_4BIT])
def test_what_is_handed_over_fits_the_model_as_it_is(kind: str, model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(4)
    plan = plan_of(kind, model_dir, rows, max_steps=5, learning_rate=2e-2)
    run(plan, rows, tmp_path)
    adapter = plan.adapter
    assert adapter is not None
    ours, _ = load_adapted(plan, str(model_dir), checkpoint=tmp_path / "checkpoint-5")
    before = logits(ours)
    load_trained(ours, tmp_path / "checkpoint-5", adapter.rank.value)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    untouched = logits(base)
    plain = PeftModel.from_pretrained(base, tmp_path / "checkpoint-5")
    torch.testing.assert_close(logits(plain), logits(ours), rtol=0, atol=1e-4)
    torch.testing.assert_close(before, untouched, rtol=0, atol=1e-4)
    assert (logits(ours) - untouched).abs().max() > 1e-2
    config = json.loads((tmp_path / "checkpoint-5" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["init_lora_weights"], config["use_rslora"]) == (8, True, False)


def test_an_adapter_of_loftq_that_is_handed_over_is_off_by_what_its_first_weights_missed_and_no_more(
    model_dir: Path, tmp_path: Path
) -> None:
    """W + s·(B·A − B₀·A₀) less Q + s·B·A is W − Q − s·B₀·A₀, however far training has moved A and B."""
    rows = make_rows(4)
    plan = plan_of("loftq", model_dir, rows, max_steps=5, learning_rate=2e-2)
    run(plan, rows, tmp_path)
    assert plan.adapter is not None
    ours, _ = load_adapted(plan, str(model_dir), checkpoint=tmp_path / "checkpoint-5")
    began = {name: whole_weight(layer, plan) for name, layer in adapted_layers(ours)}
    load_trained(ours, tmp_path / "checkpoint-5", plan.adapter.rank.value)
    untouched = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    handed_over = PeftModel.from_pretrained(base, tmp_path / "checkpoint-5").merge_and_unload()
    quantized = {name: frozen(layer) for name, layer in adapted_layers(loaded(plan_of("qdora", model_dir, rows)))}
    off = missed = lost = learned = 0.0
    for name, layer in adapted_layers(ours):
        path = f"{name.removeprefix('base_model.model.')}.weight"
        weight, found = (model.get_parameter(path).detach() for model in (untouched, handed_over))
        trained = whole_weight(layer, plan)
        torch.testing.assert_close(found - trained, weight - began[name], rtol=0, atol=1e-6)
        off += (found - trained).square().sum().item()
        missed += (weight - began[name]).square().sum().item()
        lost += (weight - quantized[name]).square().sum().item()
        learned += (trained - began[name]).square().sum().item()
    assert off == pytest.approx(missed, rel=1e-5)
    assert missed < 0.8 * lost, "less than quantization takes"
    assert learned > lost, "and training has moved the weights by more than that"


def whole_weight(layer: Any, plan: TrainPlan) -> torch.Tensor:
    """What an adapted layer multiplies by: its frozen weight and the adapter, (out, in)."""
    assert plan.adapter is not None
    a, b = (part["default"].weight.detach().float() for part in (layer.lora_A, layer.lora_B))
    product: torch.Tensor = b @ a
    return frozen(layer) + plan.adapter.scale * product


@pytest.mark.parametrize("kind", ["lora", "pissa", "loftq", "qdora"])
def test_a_checkpoint_takes_what_is_planned_for_each_trained_parameter(
    kind: str, model_dir: Path, tmp_path: Path
) -> None:
    rows = make_rows(4)
    plan = plan_of(kind, model_dir, rows, max_steps=1)
    run(plan, rows, tmp_path)
    checkpoint = tmp_path / "checkpoint-1"
    files = [load_file(file) for file in checkpoint.glob("*.safetensors")]
    states = torch.load(checkpoint / "optimizer.pt")["state"].values()
    moments = [{name: state[name] for name in ("exp_avg", "exp_avg_sq")} for state in states]
    num_bytes = sum(tensor.nbytes for tensors in (*files, *moments) for tensor in tensors.values())
    num_trained = sum(state["exp_avg"].numel() for state in states)
    assert plan.adapter is not None
    assert plan.checkpoints.num_bytes is not None
    # The plan is of a larger model, where DoRA's magnitudes, four bytes each, are a smaller part. States are counted
    # as memory holds them, in blocks of 512 bytes.
    planned = plan.checkpoints.num_bytes / plan.adapter.num_parameters
    assert num_bytes / num_trained == pytest.approx(planned, rel=0.1 if kind == "qdora" else 0.02)


@pytest.mark.parametrize("kind", ["pissa", "pissa, dora", "loftq", "loftq, dora"])
def test_a_resumed_run_ends_on_the_same_bits(kind: str, model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(6)
    plan = plan_of(kind, model_dir, rows, max_steps=4, save_steps=2, learning_rate=1e-2)
    whole = run(plan, rows, tmp_path / "whole")
    resumed = run(plan, rows, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-2")
    assert whole.losses[2:] == resumed.losses
    for name, tensor in whole.weights(4).items():
        assert torch.equal(tensor, resumed.weights(4)[name]), name


def test_a_run_that_begins_with_principal_directions_begins_as_the_model(model_dir: Path) -> None:
    plan = plan_of("pissa", model_dir, make_rows(4))
    untouched = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    for name, layer in adapted_layers(loaded(plan)):
        weight = untouched.get_submodule(name.removeprefix("base_model.model.")).weight.detach()
        a, b = (part["default"].weight.detach() for part in (layer.lora_A, layer.lora_B))
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        best = left[:, :4] * values[:4] @ right[:4]
        torch.testing.assert_close(2 * b @ a, best, rtol=0, atol=1e-5)
        torch.testing.assert_close(layer.get_base_layer().weight.detach(), weight - best, rtol=0, atol=1e-5)


def test_a_run_that_makes_up_for_quantization_begins_closer_to_the_model(model_dir: Path) -> None:
    rows = make_rows(4)
    untouched = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)

    def distance(plan: TrainPlan) -> float:
        total = 0.0
        for name, layer in adapted_layers(loaded(plan)):
            weight = untouched.get_submodule(name.removeprefix("base_model.model.")).weight.detach()
            total += (weight - whole_weight(layer, plan)).square().sum().item()
        return math.sqrt(total)

    def again(iterations: int) -> TrainPlan:
        plan = plan_of("loftq", model_dir, rows)
        assert plan.adapter is not None
        assert plan.adapter.initial is not None
        initial = attrs.evolve(plan.adapter.initial, iterations=iterations)
        return attrs.evolve(plan, adapter=attrs.evolve(plan.adapter, initial=initial))

    plain, once, five = distance(plan_of("qdora", model_dir, rows)), distance(again(1)), distance(again(5))
    assert five < once < plain


def test_more_rank_than_a_layer_has_begins_with_idle_directions(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(4)
    plan = make_plan(
        model_dir, rows, lora={"r": 40, "init_lora_weights": AdapterInit.PISSA}, training={"logging_steps": 1}
    )
    assert len(run(plan, rows, tmp_path).losses) == 4
    a = next(layer for _, layer in adapted_layers(loaded(plan))).lora_A["default"].weight
    assert a.shape[0] == 40
    assert a[32:].abs().max() > 0


def test_a_large_matrix_is_decomposed_nearly_as_well_as_by_all_its_singular_vectors() -> None:
    generator = torch.Generator().manual_seed(3)
    left = torch.linalg.qr(torch.randn(1500, 1200, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(1300, 1200, generator=generator)).Q
    # Singular values of a transformer's weight fall slowly; this spectrum is flatter than those.
    values = 1.0 / torch.arange(1, 1201) ** 0.3
    matrix = left * values @ right.T
    a, b = principal_factors(matrix, 16, scale=2.0, seed=0)
    lost, least = (matrix - 2.0 * b @ a).norm().item(), values[16:].norm().item()
    assert lost < 1.0005 * least
    again = principal_factors(matrix, 16, scale=2.0, seed=0)
    assert torch.equal(a, again[0])
    assert torch.equal(b, again[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_are_those_of_the_real_configuration(kind: str, model_dir: Path) -> None:
    plan = plan_of(kind, model_dir, make_rows(4))
    assert plan.adapter is not None
    config = LoraConfig(**lora_arguments(plan.adapter))
    assert (config.use_rslora, config.use_dora, config.init_lora_weights) == (
        plan.adapter.use_rslora,
        plan.adapter.use_dora,
        True,
    )
    (layer, *_) = (layer for _, layer in adapted_layers(loaded(plan)))
    assert layer.scaling["default"] == pytest.approx(plan.adapter.scale)
