"""How much a step computes, against what torch counts; and how long a run may take."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from backprop.plan.decision import Decision
from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.cards import CARDS, Card, card_named
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.batch import BATCH_TIERS, nominal_tier
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.throughput import ThroughputPlan, flops_per_token
from tests.plan.memory.steps import config_of
from tests.plan.training.asking import World, roomy
from tests.plan.training.worlds import CPU_MACHINE, GIB

SEQUENCE = 128
NUM_LAYERS = 8
"""So many that it hardly matters that backward spares the first layer some of its gradients."""
RANK = 16
SEVEN_B = ("--model", "Qwen/Qwen2.5-7B-Instruct")


def facts_of(family: str) -> ModelFacts:
    return facts_from_config(
        config_of(family, num_hidden_layers=NUM_LAYERS).to_dict(), name=family, source=ModelSource.TABLE
    )


def adapter_of(facts: ModelFacts) -> AdapterPlan:
    each = sum(RANK * (layer.in_features + layer.out_features) for layer in facts.linear_layers)
    names = tuple(layer.name for layer in facts.linear_layers)
    rank, alpha, targets = Decision(RANK, "", ""), Decision(2.0 * RANK, "", ""), Decision(names, "", "")
    return AdapterPlan(rank, alpha, targets, dropout=0.0, seed=0, num_parameters=each * facts.num_layers)


def counted(family: str, *, full: bool, recomputes: bool) -> float:
    """Operations for a token that torch counts in one forward and backward.

    torch counts matrix products alone, knows no masks, and is blind to the CPU's fused attention and to grouped
    products of experts; so both are computed one by one, and only half of attention's products are needed.
    """
    torch.manual_seed(0)
    config = config_of(family, num_hidden_layers=NUM_LAYERS)
    model = AutoModelForCausalLM.from_config(config, experts_implementation="eager").train()
    if not full:
        names = [layer.name for layer in facts_of(family).linear_layers]
        model = get_peft_model(model, LoraConfig(r=RANK, target_modules=names))
    if recomputes:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    tokens = torch.randint(1, 512, (1, SEQUENCE))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    products: dict[object, int] = counter.get_flop_counts()["Global"]
    attention = products.pop(torch.ops.aten.bmm)
    return (sum(products.values()) + attention / 2) / SEQUENCE


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3_moe"])
def test_the_work_of_a_token_is_what_torch_counts(family: str, full: bool, recomputes: bool) -> None:
    """Recomputation ends with the last tensor that backward asks for, which may save a layer's last product."""
    facts = facts_of(family)
    planned = flops_per_token(
        facts, adapter=None if full else adapter_of(facts), recomputes=recomputes, sequence=SEQUENCE
    )
    found = counted(family, full=full, recomputes=recomputes)
    saved = 2 * facts.intermediate_size * facts.hidden_size * facts.num_layers if full and recomputes else 0
    assert found * 0.98 <= planned <= (found + saved) * 1.02


def test_six_operations_a_parameter_is_the_rule_of_thumb() -> None:
    """arXiv:2001.08361: 6·N a token where everything is trained and sequences are short."""
    model = facts_of("llama")
    work = flops_per_token(model, adapter=None, recomputes=False, sequence=1)
    embeddings = model.vocab_size * model.hidden_size
    assert work == pytest.approx(6 * (model.num_parameters - embeddings), rel=5e-3)


def throughput(hardware: HardwareFacts, *flags: str) -> ThroughputPlan:
    plan = World(hardware, ((2048, 400),)).plan(*SEVEN_B, *flags)
    return plan.throughput


def named(name: str, vram_gib: float = 24) -> HardwareFacts:
    machine = roomy(vram_gib)
    assert machine.gpu is not None
    return attrs.evolve(machine, gpus=(attrs.evolve(machine.gpu, name=name),))


@pytest.mark.parametrize(
    ("name", "tflops"),
    [("NVIDIA GeForce RTX 4090", 165.2), ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA H100 80GB HBM3", 989.4)],
)
@pytest.mark.parametrize("utilisation", [0.213, 0.462])
def test_the_range_encloses_what_large_trainings_reached(name: str, tflops: float, utilisation: float) -> None:
    """Utilisations of table 3 of arXiv:2204.02311: GPT-3's 21.3 % to PaLM's 46.2 %."""
    plan = throughput(named(name), "--no-load-in-4bit")
    assert plan.tokens_per_step is not None
    seconds = plan.seconds(1000)
    assert seconds is not None
    work = 1000 * plan.tokens_per_step * plan.flops_per_token
    assert seconds[0] < work / (utilisation * tflops * 1e12) < seconds[1]


def test_four_bits_are_slower_and_float32_slower_still() -> None:
    card = named("NVIDIA GeForce RTX 4090")
    whole, four_bit, wide = (
        throughput(card, *flags).peak_flops
        for flags in (("--no-load-in-4bit",), ("--load-in-4bit",), ("--no-load-in-4bit", "--dtype", "float32"))
    )
    assert whole is not None
    assert four_bit is not None
    assert wide is not None
    assert whole > four_bit
    assert wide == pytest.approx([rate * 82.6 / 165.2 for rate in whole])


def test_twice_the_steps_take_twice_as_long() -> None:
    plan = throughput(CPU_MACHINE, "--model", "Qwen/Qwen2.5-0.5B")
    ten, twenty = plan.seconds(10), plan.seconds(20)
    assert ten is not None
    assert twenty == pytest.approx([2 * seconds for seconds in ten])


def test_tokens_of_a_step_are_the_rows_tokens_and_not_the_padding() -> None:
    plan: TrainPlan = World(roomy(24), ((100, 200), (2000, 200))).plan(*SEVEN_B, "--no-packing", "--steps", "10")
    assert plan.throughput.tokens_per_step == pytest.approx(1050 * plan.batch.effective)


@pytest.mark.parametrize("name", ["NVIDIA GeForce GTX 1080", "Quadro P4000", "NVIDIA CMP 170HX"])
def test_a_card_without_published_figures_has_no_duration_until_it_is_measured(name: str) -> None:
    plan = throughput(named(name))
    assert plan.peak_flops is None
    assert plan.seconds(100) is None
    assert name in plan.basis
    assert math.isfinite(plan.flops_per_token)


@pytest.mark.parametrize(
    ("driver", "card"),
    [
        ("NVIDIA GeForce RTX 3060", "RTX 3060"),
        ("NVIDIA GeForce RTX 3060 Ti", None),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", None),
        ("NVIDIA GeForce RTX 4070 SUPER", None),
        ("NVIDIA GeForce RTX 4080 SUPER", None),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L40", None),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GB200", None),
        ("NVIDIA GH200 480GB", None),
        ("Orin (nvgpu)", None),
        ("", None),
    ],
)
def test_a_driver_name_finds_its_card_and_no_other(driver: str, card: str | None) -> None:
    found = card_named(driver)
    assert (found.name if found else None) == card


def test_no_two_cards_answer_to_one_name_and_each_answers_to_its_own() -> None:
    for card in CARDS:
        assert card_named(f"NVIDIA {card.name}") is card
    assert len({card.name for card in CARDS}) == len(CARDS)


def test_common_cards_cover_every_tier_and_half_precision_is_never_slower() -> None:
    tiers = {nominal_tier(card.vram_gib * GIB) for card in CARDS}
    assert tiers == {batch for _, batch in BATCH_TIERS}
    assert all(card.half_tflops >= card.float32_tflops for card in CARDS)


@pytest.mark.parametrize("card", [card for card in CARDS if card.vram_gib >= 16], ids=lambda card: card.name)
def test_a_card_that_reports_a_little_less_is_still_of_its_tier(card: Card) -> None:
    assert nominal_tier(round((card.vram_gib - 1.5) * GIB)) == nominal_tier(card.vram_gib * GIB)


@pytest.mark.parametrize("cores", [2, 64])
def test_on_the_cpu_the_range_goes_by_the_cores(cores: int) -> None:
    plan = throughput(attrs.evolve(CPU_MACHINE, num_cpus=cores), "--model", "Qwen/Qwen2.5-0.5B")
    assert plan.peak_flops == (cores * 8e9, cores * 60e9)
    assert f"{cores} cores" in plan.basis
