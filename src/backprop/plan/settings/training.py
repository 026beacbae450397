"""The TRAINING group: steps, batches, optimizer, checkpoints; and where results go."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.memory.objective import Objective
from backprop.plan.settings.kinds import Choice, Real, Switch, Whole, Words
from backprop.plan.settings.option import group, opt


class Backend(enum.Enum):
    """The compute rail that the user asks for."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


class TrainMode(enum.Enum):
    """What of the model is trained."""

    LORA = "lora"
    FULL = "full"


class Optimizer(enum.Enum):
    """The optimizers that can be asked for."""

    AUTO = "auto"
    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_8BIT = "adamw_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    ADAFACTOR = "adafactor"
    SGD = "sgd"

    @property
    def has_8bit_states(self) -> bool:
        """bitsandbytes', which holds its states in a byte each."""
        return self in (Optimizer.ADAMW_8BIT, Optimizer.PAGED_ADAMW_8BIT)


class Scheduler(enum.Enum):
    """How the learning rate moves after the warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"


@group("training")
@attrs.frozen
class OutputSettings:
    """BACKPROPAGATE_TRAINING__OUTPUT_DIR: where runs and their history live."""

    output_dir: str = opt(
        Words(), "--output", "-o", default="./output", help="Output directory.", metavar="DIR", file_like=True
    )


@group("training")
@attrs.frozen
class TrainingSettings(OutputSettings):
    """BACKPROPAGATE_TRAINING__…"""

    max_steps: int | None = opt(
        Whole(minimum=1),
        "--steps",
        unset="100, unless --epochs is given",
        help="Number of training steps (optimizer updates).",
        excludes="num_train_epochs",
    )
    num_train_epochs: float | None = opt(
        Real(above=0), "--epochs", unset="as many as the steps see", help="Passes over the data, instead of --steps."
    )
    per_device_train_batch_size: int | None = opt(
        Whole(minimum=1, auto=True),
        "--batch-size",
        unset="auto: by the card's memory",
        help='Sequences in one forward pass, or "auto".',
        metavar="N|auto",
    )
    gradient_accumulation_steps: int = opt(
        Whole(minimum=1), "--grad-accum", default=4, help="Forward passes added up before each optimizer update."
    )
    learning_rate: float | None = opt(
        Real(above=0),
        "--lr",
        unset="2e-4 for LoRA, 2e-5 for --mode full; 8e-6 for orpo, 1e-6 for simpo and kto",
        help="Peak learning rate.",
    )
    weight_decay: float = opt(Real(at_least=0), "--weight-decay", default=0.01, help="AdamW weight decay.", rare=True)
    warmup_steps: int | None = opt(
        Whole(minimum=0),
        "--warmup-steps",
        unset="10, but at most a tenth of the steps",
        help="Steps over which the learning rate rises from zero.",
        excludes="warmup_ratio",
    )
    warmup_ratio: float | None = opt(
        Real(at_least=0, at_most=1),
        "--warmup-ratio",
        unset="not used",
        help="The warm-up as a share of the steps.",
        rare=True,
    )
    max_grad_norm: float = opt(
        Real(above=0), "--max-grad-norm", default=1.0, help="Gradients are clipped to this norm.", rare=True
    )
    optim: Optimizer = opt(
        Choice(Optimizer),
        "--optim",
        default=Optimizer.AUTO,
        help="Optimizer. auto: paged_adamw_8bit on CUDA cards under 24 GB, adamw_torch_fused otherwise.",
    )
    lr_scheduler_type: Scheduler = opt(
        Choice(Scheduler), "--lr-scheduler", default=Scheduler.COSINE, help="Learning rate schedule after the warm-up."
    )
    logging_steps: int = opt(
        Whole(minimum=1), "--logging-steps", default=10, help="Steps between two reports of the loss.", rare=True
    )
    save_steps: int = opt(Whole(minimum=1), "--save-steps", default=100, help="Steps between two checkpoints.")
    keep_checkpoints: int = opt(
        Whole(minimum=1),
        "--keep-checkpoints",
        default=2,
        help="Newest checkpoints to keep; the best one by held-out loss is kept besides.",
        rare=True,
    )
    eval_every: int | None = opt(
        Whole(minimum=1),
        "--eval-every",
        unset="a tenth of the steps, when there is an --eval-split",
        help="Steps between two evaluations on the held-out rows.",
    )
    early_stopping: int | None = opt(
        Whole(minimum=1),
        "--early-stopping",
        unset="off",
        help="Stop after this many evaluations without a better held-out loss.",
        metavar="N",
    )
    bf16: bool | None = opt(Switch(), "--bf16", unset="by the hardware", help="Compute in bfloat16.", rare=True)
    fp16: bool | None = opt(Switch(), "--fp16", unset="by the hardware", help="Compute in float16.", rare=True)
    fp8: bool = opt(
        Switch(),
        "--fp8",
        default=False,
        help="Hold the base weights in float8 and multiply in it (Hopper and Blackwell cards; needs torchao).",
    )
    seed: int = opt(Whole(minimum=0, maximum=2**32 - 1), "--seed", default=42, help="Seed of data order and dropout.")
    mode: TrainMode = opt(
        Choice(TrainMode, instead=(("qlora", "--load-in-4bit, with --mode lora"), ("dora", "--use-dora"))),
        "--mode",
        default=TrainMode.LORA,
        help="lora trains a low-rank adapter on frozen weights; full updates every weight of the model.",
    )
    method: Objective = opt(
        Choice(Objective),
        "--method",
        default=Objective.SFT,
        help="sft learns the answers. orpo and simpo learn from pairs of a better and a worse answer (chosen,"
        " rejected), kto from answers that are good or bad (prompt, completion, label).",
    )
    orpo_beta: float = opt(
        Real(above=0), "--orpo-beta", default=0.1, help="With --method orpo: the weight of the odds ratio.", rare=True
    )
    simpo_beta: float = opt(
        Real(above=0), "--simpo-beta", default=2.0, help="With --method simpo: the scale of the rewards.", rare=True
    )
    simpo_gamma: float = opt(
        Real(above=0),
        "--simpo-gamma",
        default=1.0,
        help="With --method simpo: by how much the better answer's reward is to be larger.",
        rare=True,
    )
    kto_beta: float = opt(
        Real(above=0), "--kto-beta", default=0.1, help="With --method kto: the scale of the rewards.", rare=True
    )
    kto_desirable_weight: float = opt(
        Real(above=0),
        "--kto-desirable-weight",
        default=1.0,
        help="With --method kto: the weight of good answers, raised where they are few.",
        rare=True,
    )
    kto_undesirable_weight: float = opt(
        Real(above=0),
        "--kto-undesirable-weight",
        default=1.0,
        help="With --method kto: the weight of bad answers, raised where they are few.",
        rare=True,
    )
    full_ft_offload: bool = opt(
        Switch(),
        "--full-ft-offload",
        default=False,
        help="With --mode full: keep weights and optimizer states in host memory (FSDP2), one layer at a time on the"
        " card. Slower; not on Windows.",
    )
    full_ft_ceiling_billions: float | None = opt(
        Real(above=0),
        "--full-ft-ceiling-billions",
        unset="by the card's memory",
        help="With --mode full: the most parameters, in billions, that a model may have.",
        metavar="B",
        rare=True,
    )
    backend: Backend = opt(
        Choice(Backend),
        "--backend",
        default=Backend.AUTO,
        help="Compute rail. auto: CUDA where there is an NVIDIA card, else the CPU.",
    )
