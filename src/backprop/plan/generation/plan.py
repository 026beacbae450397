"""Which base carries the adapter, in which format it is held, and what each completion is sampled with."""

from __future__ import annotations

import hashlib

import attrs

from backprop.plan.decision import Decision, Problem, Refused, warning
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.generation.facts import PromptFacts, TargetFacts
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Backend, TrainingSettings
from backprop.plan.settings.verbs.generate import GenerateSettings
from backprop.plan.training.packages import GENERATE_PACKAGES, check_packages
from backprop.plan.training.precision import PrecisionPlan, plan_precision
from backprop.plan.training.rail import Rail, plan_rail

USABLE_VRAM = 0.8
"""The share of a card's free memory that weights may take; the rest is for the cache of keys and values."""


@attrs.frozen
class Base:
    """The model that is loaded: a directory or a Hub id, and the Hub commit that the adapter was trained on."""

    name: str
    commit: str | None = None


@attrs.frozen
class GenerationPlan:
    """All that the executor needs besides the directory of the base's weights."""

    model: ModelFacts
    adapter_dir: str | None
    rail: Decision[Rail]
    precision: PrecisionPlan
    prompt_ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    max_new_tokens: int
    temperature: float
    seeds: tuple[int, ...]
    """One a completion."""
    warnings: tuple[Problem, ...] = ()
    trust_remote_code: bool = False


def plan_base(settings: GenerateSettings, target: TargetFacts) -> Base | Refused:
    """--base, else the model directory itself, else what the adapter records."""
    if target.model_dir is not None:
        return Base(target.model_dir)
    if settings.base is not None:
        return Base(settings.base)
    if target.recorded_base is not None:
        return Base(target.recorded_base, target.recorded_commit)
    return Refused(
        (
            Problem(
                "INPUT_VALIDATION_FAILED",
                f"The adapter in {target.adapter_dir} does not say which base model it belongs to.",
                where="--base",
                hint="Pass the model that it was trained on: --base MODEL.",
            ),
        )
    )


def plan_generation(
    settings: GenerateSettings,
    *,
    target: TargetFacts,
    model: ModelFacts,
    prompt: PromptFacts,
    hardware: HardwareFacts,
    software: SoftwareFacts,
) -> GenerationPlan | Refused:
    """The prompt and the completion must fit the model's context together; temperature 0 is greedy decoding."""
    problems = (*_check_length(settings, model, prompt), *check_packages(software, GENERATE_PACKAGES))
    rail = plan_rail(Backend.AUTO, hardware, software, origins=Origins())
    assert isinstance(rail, Decision), "the rail that is not forced always exists"
    if rail.value is Rail.MLX:
        rail = Decision(Rail.CPU, "adapters in PEFT's format", "Answers come from torch, whatever rail has trained.")
    precision = _precision(rail.value, model, hardware, software)
    if isinstance(precision, Problem):
        problems = (*problems, precision)
    if problems:
        return Refused(problems)
    assert isinstance(precision, PrecisionPlan)
    greedy = settings.temperature == 0
    return GenerationPlan(
        model=model,
        adapter_dir=target.adapter_dir,
        rail=rail,
        precision=precision,
        prompt_ids=prompt.ids,
        stop_ids=prompt.stop_ids,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seeds=tuple(completion_seed(settings.seed, i) for i in range(1 if greedy else settings.num)),
        warnings=tuple(_inert(settings, target)),
    )


def completion_seed(seed: int, index: int) -> int:
    """The seed of one completion: the same however many are asked for, and shared with no other seed's."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _check_length(settings: GenerateSettings, model: ModelFacts, prompt: PromptFacts) -> tuple[Problem, ...]:
    if not prompt.ids:
        return (Problem("INPUT_VALIDATION_FAILED", "The prompt is empty.", where="PROMPT", hint="Write something."),)
    context = model.max_position_embeddings
    needed = len(prompt.ids) + settings.max_new_tokens
    if context is None or needed <= context:
        return ()
    left = context - len(prompt.ids)
    return (
        Problem(
            "INPUT_VALIDATION_FAILED",
            f"The prompt's {len(prompt.ids):,} tokens and {settings.max_new_tokens:,} new ones do not fit into"
            f" the {context:,} tokens that {model.name} can see.",
            where="--max-new-tokens" if left > 0 else "PROMPT",
            hint=f"Pass --max-new-tokens {left} or less." if left > 0 else "Shorten the prompt.",
        ),
    )


def _precision(
    rail: Rail, model: ModelFacts, hardware: HardwareFacts, software: SoftwareFacts
) -> PrecisionPlan | Problem:
    """Full weights when they fit, since they answer faster and closer to what is exported; else 4 bits on CUDA."""
    half_bytes = 2 * model.num_parameters
    crowded = hardware.gpu is not None and half_bytes > USABLE_VRAM * hardware.gpu.vram_free_bytes
    if rail is Rail.CUDA and crowded and software.has("bitsandbytes") and not model.is_quantized:
        in_4bit = Decision(True, "too large for 16 bits", "The weights in 16 bits would fill the card.")
    else:
        in_4bit = Decision(False, "full weights", "They answer faster, and as what is exported will.")
    return plan_precision(
        ModelSettings(),
        TrainingSettings(),
        rail=rail,
        model=model,
        hardware=hardware,
        software=software,
        origins=Origins(),
        in_4bit=in_4bit,
    )


def _inert(settings: GenerateSettings, target: TargetFacts) -> list[Problem]:
    found = []
    if settings.temperature == 0 and settings.num > 1:
        found.append(
            warning(
                "CONFIG_INVALID_SETTING",
                f"--num {settings.num} has no effect with --temperature 0: all completions would be the same.",
                where="--num",
                hint="Raise --temperature to get different ones.",
            )
        )
    if settings.base is not None and target.model_dir is not None:
        found.append(
            warning(
                "CONFIG_INVALID_SETTING",
                f"--base {settings.base} has no effect: {target.model_dir} is a whole model, not an adapter.",
                where="--base",
                hint="Leave it out.",
            )
        )
    return found
