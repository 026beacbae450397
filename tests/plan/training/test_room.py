"""What is said where a run does not fit, or where nobody can say."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.decision import Refused, Severity
from backprop.plan.exit_code import exit_code_for
from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import LinearLayer, ModelFacts, ModelSource
from backprop.plan.quantity import gib
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.training.rail import Rail
from backprop.plan.training.room import may_cut
from backprop.plan.training.targets import readable_rows, truncated_share
from backprop.plan.wire.envelope import problem_data
from tests.plan.training.asking import World, asked, roomy, with_free
from tests.plan.training.worlds import CPU_MACHINE, card, dataset, tokens

HALF_B = ("--model", "Qwen/Qwen2.5-0.5B")
SEVEN_B = ("--model", "Qwen/Qwen2.5-7B-Instruct")
WHOLE = ((2048, 400),)


def needed(plan: TrainPlan) -> int:
    assert plan.memory is not None
    return plan.memory.needed_bytes


def test_a_run_that_does_not_fit_is_refused_with_exit_code_2() -> None:
    problem = World(card(6), WHOLE).refusal(*SEVEN_B)
    assert problem.code == "RUNTIME_MEMORY_INSUFFICIENT"
    assert exit_code_for([problem]) == 2


def test_the_refusal_says_what_is_needed_what_there_is_and_what_takes_most() -> None:
    least = World(roomy(16), WHOLE).plan(*SEVEN_B, "--batch-size", "1", "--gradient-checkpointing")
    assert least.memory is not None
    terms = sorted(least.memory.terms, key=lambda term: term.bytes, reverse=True)
    message = World(with_free(card(16), 5 << 30), WHOLE).refusal(*SEVEN_B, "--grad-accum", "2").message
    assert f"would need {gib(needed(least))}" in message
    assert "5.0 GiB free of 16.0 GiB" in message
    assert f"at the peak, {least.memory.moment}: " in message
    assert ", ".join(f"{term.name.value} {gib(term.bytes)}" for term in terms[:3]) in message
    assert terms[3].name.value not in message


def test_free_to_the_byte_is_enough() -> None:
    flags = (*SEVEN_B, "--batch-size", "1", "--gradient-checkpointing")
    exact = needed(World(roomy(16), WHOLE).plan(*flags))
    assert needed(World(with_free(roomy(16), exact), WHOLE).plan(*flags)) == exact
    assert World(with_free(roomy(16), exact - 1), WHOLE).refusal(*flags).code == "RUNTIME_MEMORY_INSUFFICIENT"


def test_on_the_cpu_a_model_larger_than_the_machines_memory_is_refused() -> None:
    problem = World(CPU_MACHINE).refusal("--model", "meta-llama/Llama-3.1-8B")
    assert problem.code == "RUNTIME_MEMORY_INSUFFICIENT"
    assert "this machine has 15.0 GiB free of 16.0 GiB" in problem.message


def test_on_the_cpu_a_tenth_is_reserved_and_the_process_stands_beside_it() -> None:
    plan = World(CPU_MACHINE).plan(*HALF_B)
    memory, budget = plan.memory, plan.budget
    assert memory is not None
    assert budget is not None
    assert memory.reserved_bytes == round(1.1 * memory.peak_bytes)
    assert memory.needed_bytes == memory.reserved_bytes + 700_000_000
    assert (budget.free_bytes, budget.total_bytes) == (15 << 30, 16 << 30)


def test_a_full_run_that_memory_refuses_says_that_its_parameters_were_not_too_many() -> None:
    message = World(card(16), WHOLE).refusal("--model", "Qwen/Qwen2.5-3B", "--mode", "full").message
    assert "within the bound on parameters" in message
    assert "bound" not in World(card(6), WHOLE).refusal(*SEVEN_B).message


def test_host_memory_that_does_not_do_is_named_with_what_the_card_would_take() -> None:
    machine = attrs.evolve(roomy(80), ram_available_bytes=20 << 30)
    run = ("--model", "Qwen/Qwen2.5-3B", "--mode", "full", "--full-ft-offload")
    plan = World(roomy(80)).plan(*run)
    assert plan.memory is not None
    message = World(machine).refusal(*run).message
    assert f"{gib(plan.memory.host_bytes)} in host memory" in message
    assert "20.0 GiB are free" in message


def test_a_machine_that_does_not_tell_its_memory_is_planned_for_with_a_warning() -> None:
    silent = attrs.evolve(CPU_MACHINE, ram_total_bytes=None, ram_available_bytes=None)
    plan = World(silent).plan("--model", "meta-llama/Llama-3.1-8B")
    assert plan.budget is None
    (problem,) = plan.warnings
    assert (problem.code, problem.severity) == ("RUNTIME_MEMORY_UNKNOWN", Severity.WARNING)
    assert gib(needed(plan)) in problem.message


@pytest.mark.parametrize(("hardware", "batch", "recomputes"), [(roomy(24), 4, True), (CPU_MACHINE, 1, False)])
def test_a_model_that_is_not_modelled_is_planned_by_the_tier_with_a_warning(
    hardware: HardwareFacts, batch: int, recomputes: bool
) -> None:
    run = asked("--model", "Qwen/Qwen3-30B-A3B")
    facts = World(hardware).facts(run.settings)
    assert isinstance(facts.model, ModelFacts)
    assert facts.model.experts is not None
    shared = attrs.evolve(facts.model, experts=attrs.evolve(facts.model.experts, shared_intermediate_size=512))
    plan = plan_train(run.settings, attrs.evolve(facts, model=shared), origins=Origins())
    assert not isinstance(plan, Refused)
    assert plan.memory is None
    assert [p.code for p in plan.warnings] == ["RUNTIME_MEMORY_UNKNOWN"]
    assert (plan.batch.micro_batch.value, plan.gradient_checkpointing.value) == (batch, recomputes)


GPT_NEOX = {
    "model_type": "gpt_neox",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 50304,
}
ITS_LAYERS = (
    LinearLayer("query_key_value", 1024, 3072),
    LinearLayer("dense", 1024, 1024),
    LinearLayer("dense_h_to_4h", 1024, 4096),
    LinearLayer("dense_4h_to_h", 4096, 1024),
)
PHI2_LAYERS = (
    *(LinearLayer(name, 1024, 1024) for name in ("q_proj", "k_proj", "v_proj", "dense")),
    LinearLayer("fc1", 1024, 4096),
    LinearLayer("fc2", 4096, 1024),
)


def unknown_family(config: dict[str, object], layers: tuple[LinearLayer, ...] | None) -> TrainPlan:
    run = asked("--no-load-in-4bit")
    model = facts_from_config(config, name="there", source=ModelSource.DIRECTORY, directory="/m", linear_layers=layers)
    facts = attrs.evolve(World(roomy(24)).facts(run.settings), model=model)
    plan = plan_train(run.settings, facts, origins=Origins())
    assert isinstance(plan, TrainPlan), plan
    return plan


@pytest.mark.parametrize("layers", [ITS_LAYERS, PHI2_LAYERS], ids=["gpt-neox", "phi-2"])
@pytest.mark.parametrize("model_type", ["gpt_neox", "llama"])
def test_layers_that_the_family_has_not_are_neither_predicted_nor_a_crash(
    model_type: str, layers: tuple[LinearLayer, ...]
) -> None:
    plan = unknown_family({**GPT_NEOX, "model_type": model_type}, layers)
    assert plan.memory is None
    assert plan.adapter is not None
    assert set(plan.adapter.targets.value) == {layer.name for layer in layers}
    (problem,) = plan.warnings
    assert problem.code == "RUNTIME_MEMORY_UNKNOWN"


def test_an_unknown_family_built_like_llama_is_counted_so_and_the_plan_says_so() -> None:
    config = {**GPT_NEOX, "num_key_value_heads": 4}
    known = unknown_family({**config, "model_type": "llama"}, None)
    unknown = unknown_family({**config, "model_type": "arcee"}, known.model.linear_layers)
    assert known.warnings == ()
    assert unknown.memory == known.memory
    (problem,) = unknown.warnings
    assert (problem.code, problem.severity) == ("RUNTIME_MEMORY_UNKNOWN", Severity.WARNING)
    assert "arcee" in problem.message
    assert "Llama" in problem.message


def test_a_cpu_run_beside_a_card_goes_by_the_machines_memory() -> None:
    plan = World(with_free(card(24), 1 << 30)).plan(*HALF_B, "--backend", "cpu")
    assert plan.rail.value is Rail.CPU
    assert plan.budget is not None
    assert plan.budget.place == "this machine"


def test_the_refusals_numbers_are_data_too() -> None:
    problem = World(with_free(card(16), 5 << 30), WHOLE).refusal(*SEVEN_B)
    assert problem.shortage is not None
    assert problem.shortage.free_bytes == 5 << 30
    assert gib(problem.shortage.needed_bytes) in problem.message
    assert problem.shortage.remedies
    assert all(f"{r.flags} ({gib(r.needed_bytes)})" in problem.hint for r in problem.shortage.remedies)
    assert problem_data(problem)["shortage"]["free_bytes"] == 5 << 30
    too_large = World(card(24)).refusal(*SEVEN_B, "--mode", "full")
    assert too_large.code == "RUNTIME_FULL_FT_MODEL_TOO_LARGE"
    assert too_large.shortage is not None


def test_without_a_card_the_refusal_says_how_to_ask_about_one() -> None:
    ask = "backprop estimate-vram meta-llama/Llama-3.1-8B --vram-gb 24"
    assert ask in World(CPU_MACHINE).refusal("--model", "meta-llama/Llama-3.1-8B").hint
    assert "--vram-gb" not in World(with_free(card(16), 5 << 30), WHOLE).refusal(*SEVEN_B).hint


def test_rows_that_teach_nothing_count_alike_in_what_may_be_cut_and_in_what_is_refused() -> None:
    # 100 rows of which 15 have no target: 9 cut ones are 9 % of what can be read, over 10 % of what is trained on.
    data = DataFacts(train=dataset(tokens(((60, 76), (900, 9))), rows=100), heldout=None)
    assert may_cut(TrainSettings(), data)(500)
    assert truncated_share(9, readable_rows(data.train)) == 0.09
