"""The error catalogue as data, and the one exception that carries problems out of the effects layer."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.decision import Problem


class Family(enum.Enum):
    """The part of an error code before the first underscore, and the exit code it has by default."""

    INPUT = "INPUT"
    CONFIG = "CONFIG"
    DEP = "DEP"
    RUNTIME = "RUNTIME"
    STATE = "STATE"
    HUB = "HUB"


FAMILY_EXIT_CODE = {
    Family.INPUT: 1,
    Family.CONFIG: 1,
    Family.DEP: 2,
    Family.RUNTIME: 2,
    Family.STATE: 2,
    Family.HUB: 2,
}


@attrs.frozen
class CatalogueEntry:
    """What is promised about one error code."""

    code: str
    meaning: str
    hint: str
    """The next step when the problem itself names none."""
    exit_code: int
    retryable: bool = False


def _entry(
    code: str, meaning: str, hint: str, *, exit_code: int | None = None, retryable: bool = False
) -> CatalogueEntry:
    default = FAMILY_EXIT_CODE[Family(code.split("_", 1)[0])]
    return CatalogueEntry(
        code=code,
        meaning=meaning,
        hint=hint,
        exit_code=default if exit_code is None else exit_code,
        retryable=retryable,
    )


CATALOGUE: dict[str, CatalogueEntry] = {
    entry.code: entry
    for entry in (
        _entry("INPUT_VALIDATION_FAILED", "An argument cannot be used as given.", "Run the command with --help to see what it takes."),
        _entry("INPUT_PATH_UNUSABLE", "A path given for output cannot be written.", "Choose another directory with --output.", exit_code=77),
        _entry("INPUT_DATASET_NOT_FOUND", "The data set does not exist where it was looked for.", "Check the path, or the name on the Hub."),
        _entry("INPUT_DATASET_INVALID", "The data set cannot be trained on as it is.", "Fix the rows named, or pass another file."),
        _entry("INPUT_DATASET_PARSE_FAILED", "A line of the data set cannot be read.", "Fix the line named; every row must be one valid record."),
        _entry("INPUT_DATASET_FORMAT_UNSUPPORTED", "The rows are in no format that is known.", "Use messages, conversations, instruction/output, prompt/completion or text."),
        _entry("INPUT_DATASET_VALIDATION_FAILED", "Rows of the data set would train wrongly.", "Fix the rows named.", exit_code=65),
        _entry("INPUT_DATASET_CHANGED", "A data set changed while it was read.", "Try again when nothing writes to it any more.", retryable=True),
        _entry("INPUT_DATASET_REPORT_THRESHOLD", "A data set is past a limit that was set for its quality.", "Clean the data, or raise the limit.", exit_code=65),
        _entry("INPUT_TARGETS_EMPTY", "No token of the data would be learned.", "Check that the rows have assistant turns, and that they fit --max-seq-length."),
        _entry("INPUT_TARGETS_EVERYTHING", "Every token of the conversations would be learned, prompts included.", "Pass --train-on-prompt if this is meant."),
        _entry("INPUT_TARGETS_LOST", "The chat template drops text that should be learned.", "Choose another --chat-template, or accept it with --allow-lost-targets."),
        _entry("INPUT_TARGETS_TRUNCATED", "Many rows are longer than the sequence length.", "Raise --max-seq-length."),
        _entry("INPUT_TARGETS_UNENDED", "Targets without an end-of-turn token: the model would not learn to stop.", "Choose a --chat-template that ends the assistant's turn."),
        _entry("INPUT_CHAT_TEMPLATE_MISSING", "Conversations cannot be written for this model: it has no chat template.", "Pass --chat-template chatml, or a template file."),
        _entry("INPUT_CHAT_TEMPLATE_INVALID", "The chat template cannot be used.", "Fix the template, or choose one with --chat-template NAME."),
        _entry("INPUT_CHAT_TEMPLATE_UNUSED", "A chat model is trained on rows that are not written with its template.", "Give the rows as conversations, unless plain text is meant."),
        _entry("INPUT_ADAPTER_TOO_SMALL", "The data teaches more than the adapter can store.", "Raise --lora-r, or train with --mode full."),
        _entry("INPUT_EPOCHS_MANY", "Few rows are gone through many times, unwatched.", "Hold rows out with --eval-split."),
        _entry("INPUT_MODEL_LICENCE", "The base model's licence binds what is trained from it.", "Read it before you publish the result."),
        _entry("INPUT_AUTH_REQUIRED", "The Hub refuses access without a token that has it.", "Accept the model's terms on the Hub, then set HF_TOKEN or run `hf auth login`."),
        _entry("INPUT_MODEL_NOT_FOUND", "The model does not exist where it was looked for.", "Check the spelling of --model; local models are given by their directory."),
        _entry("INPUT_MODEL_INVALID", "The model's config.json cannot be read, or is not a language model's.", "Fix the file, or fetch it again."),
        _entry("INPUT_ADAPTER_INVALID", "The adapter is damaged, or of a kind that cannot be used here.", "Train it again, or restore its files."),
        _entry("INPUT_ADAPTER_MISMATCH", "The adapter belongs to another base model.", "Name the model that it was trained on with --base."),
        _entry("INPUT_EXPORT_UNSUPPORTED", "A model or an adapter that cannot be written in this format.", "Export with --format merged."),
        _entry("INPUT_RESUME_NOT_FOUND", "There is no such run to continue, or it cannot be continued.", "List what there is with `backprop runs`."),
        _entry("INPUT_RUN_AMBIGUOUS", "More than one run begins like that.", "Give more letters of the run id."),
        _entry("CONFIG_INVALID", "A configuration file cannot be read.", "Fix the file, or remove it."),
        _entry("CONFIG_INVALID_SETTING", "A setting has a value that it cannot have.", "Run the command with --help-all to see what each setting takes."),
        _entry("CONFIG_UNKNOWN_SETTING", "A setting of this name does not exist.", "See `backprop config --show` for the names there are."),
        _entry("CONFIG_DEPRECATED", "A name that will go.", "Use the name given instead."),
        _entry("DEP_MODEL_LOAD_FAILED", "The model cannot be loaded.", "Check that the model's files are complete.", retryable=True),
        _entry("DEP_GPU_NOT_AVAILABLE", "No GPU can be used.", "Train on the CPU with --backend cpu."),
        _entry("DEP_FSDP_UNAVAILABLE", "Offloading full fine-tuning to host memory needs NCCL, which is not here.", "Leave out --full-ft-offload, or use --mode lora."),
        _entry("DEP_MLX_UNAVAILABLE", "The MLX rail needs mlx-lm, which is not installed.", "Install it with pip install mlx-lm, or use --backend cpu.", exit_code=1),
        _entry("DEP_UNSLOTH_FAILED", "Unsloth is installed and cannot load the model.", "The run goes on without it; --no-unsloth leaves it out."),
        _entry("DEP_PACKAGE_MISSING", "A package that this needs is not installed.", "Install the package named.", exit_code=1),
        _entry("DEP_OLLAMA_UNAVAILABLE", "Ollama cannot be reached, or answers with an error.", "Start it with `ollama serve`, or set OLLAMA_HOST.", retryable=True),
        _entry("DEP_OLLAMA_REGISTRATION_FAILED", "Ollama did not take the model.", "See whether `backprop ollama list` answers, and try again.", retryable=True),
        _entry("INPUT_BASE_LOCAL", "An adapter names its base by a directory, which nobody else has.", "Put the base's Hub id into adapter_config.json as \"base_model_name_or_path\"."),
        _entry("INPUT_TOKEN_FILE_OPEN", "Others can read a file that holds a token.", "Run chmod 600 on it."),
        _entry("HUB_PUSH_AUTH", "The Hub does not let this token write there.", "Pass --token-file with a token that may write, set HF_TOKEN, or run `hf auth login`."),
        _entry("HUB_PUSH_INVALID_REPO", "The Hub does not take this name of a repository or of a branch.", "Name it owner/name, in letters, digits, -, _ and ."),
        _entry("HUB_PUSH_NOT_FOUND", "The repository or the branch does not exist, or this token may not see it.", "Check the spelling of --repo and --hub-revision."),
        _entry("HUB_PUSH_NETWORK", "The Hub cannot be reached, or was lost while pushing.", "Check the connection and push again; what was uploaded is not uploaded twice.", exit_code=69, retryable=True),
        _entry("HUB_PUSH_SECRET", "A file to be pushed holds what looks like a secret.", "Take it out of the file named, and withdraw it where it was issued.", exit_code=1),
        _entry("HUB_PUSH_UNKNOWN", "The Hub refused the push.", "Run again with -v for the full trace."),
        _entry("HUB_UNREACHABLE", "The Hub cannot be reached.", "Check the connection, or give a local directory.", exit_code=69, retryable=True),
        _entry("HUB_RESPONSE_UNKNOWN", "The Hub answered with an error.", "Try again later.", retryable=True),
        _entry("RUNTIME_TRAINING_FAILED", "Training stopped by an error.", "Run again with -v for the full trace.", retryable=True),
        _entry("RUNTIME_TRAINING_ABORTED", "Training was interrupted.", "Continue with `backprop resume`.", exit_code=130, retryable=True),
        _entry("RUNTIME_TRAINING_DIVERGED", "The loss, or the norm of its gradients, is no longer a finite number.", "Lower --lr, or look for broken rows in the data.", retryable=False),
        _entry("RUNTIME_GENERATION_CUT", "A completion reached its length limit before it ended.", "Raise --max-new-tokens."),
        _entry("RUNTIME_GENERATION_FAILED", "Generation stopped by an error.", "Run again with -v for the full trace."),
        _entry("RUNTIME_EXPORT_FAILED", "An export stopped by an error.", "Run again with -v for the full trace."),
        _entry("RUNTIME_LORA_EXPORT_FAILED", "The adapter that was written is not the one that was read.", "Check the disk, and export again."),
        _entry("RUNTIME_MERGE_EXPORT_FAILED", "The merged model has numbers that are not finite, or was not written as planned.", "Check the base model's files, and export again."),
        _entry("RUNTIME_GGUF_EXPORT_FAILED", "A GGUF file could not be made, or is not what was planned.", "Check the base model's files, and export again."),
        _entry("RUNTIME_FP8_UNSUPPORTED", "float8 weights cannot be used here.", "Leave out --fp8, or repair torchao: pip install --force-reinstall torchao."),
        _entry("RUNTIME_FULL_FT_MODEL_TOO_LARGE", "The model has more parameters than full fine-tuning takes on this card.", "Use --mode lora, or --full-ft-offload."),
        _entry("RUNTIME_MEMORY_INSUFFICIENT", "The run would need more memory than there is.", "Shorten --max-seq-length, lower --lora-r, or choose a smaller model."),
        _entry("RUNTIME_MEMORY_UNKNOWN", "Whether the run fits the memory cannot be said beforehand.", "Watch the first steps."),
        _entry("RUNTIME_GPU_OOM", "The GPU ran out of memory.", "Lower --batch-size or --max-seq-length.", exit_code=137, retryable=True),
        _entry("RUNTIME_OOM_RECOVERY_EXHAUSTED", "Memory ran out in training, and smaller passes did not help.", "End other programs that hold memory, or start a new run with less: `backprop estimate-vram` tries out sequence lengths, ranks and ways to train."),
        _entry("RUNTIME_GPU_MEMORY_LOW", "The card's memory is nearly full.", "End other programs on the card, or start the next run with a lower --batch-size."),
        _entry("RUNTIME_GPU_TEMPERATURE_CRITICAL", "The card is dangerously hot.", "Let the card cool, and look after its fans and the air around it.", retryable=True),
        _entry("RUNTIME_GPU_MONITORING_FAILED", "The card's temperature cannot be read.", "Training goes on unwatched; see whether nvidia-smi answers."),
        _entry("RUNTIME_DISK_FULL", "The disk is full.", "Free some space.", retryable=True),
        _entry("RUNTIME_WRITE_FAILED", "A file cannot be written or read back.", "Check the disk and the path named.", retryable=True),
        _entry("RUNTIME_PERMISSION_DENIED", "The operating system denied access.", "Check the permissions of the path named.", exit_code=77),
        _entry("RUNTIME_WORKER_LOST", "A process that helped with the work was killed.", "Run the command again; look for what ends processes when memory is short.", retryable=True),
        _entry("RUNTIME_INTERRUPTED", "Interrupted.", "Run the command again.", exit_code=130, retryable=True),
        _entry("RUNTIME_BUG", "A bug of backprop.", "Please report it with the output of the same command with -v.", exit_code=70),
        _entry("STATE_CHECKPOINT_INVALID", "A checkpoint is incomplete or damaged.", "Continue from an earlier one with `backprop resume`, or train again."),
        _entry("STATE_RUN_ACTIVE", "Another process is working on this run.", "Wait until it has ended.", exit_code=1),
        _entry("STATE_INPUTS_CHANGED", "The model or the data is no longer what the run was planned on.", "Restore it, or start a new run.", exit_code=1),
        _entry("STATE_HISTORY_UNREADABLE", "The run history cannot be read.", "The runs' own records are used; the next run that begins there sets the file aside."),
        _entry("STATE_HISTORY_BUSY", "Another process holds the run history.", "Try again; `backprop runs` shows what is running.", retryable=True),
        _entry("STATE_NEWER_VERSION", "A later version of backprop wrote this.", "Update backprop, or choose another directory with --output."),
    )
}  # fmt: skip


class BackpropError(Exception):
    """Problems on their way out of the effects layer; foreign exceptions are translated to it once.

    ``problems`` is never empty; the first decides the exit code.
    """

    def __init__(self, *problems: Problem) -> None:
        assert problems, "an error names at least one problem"
        self.problems = problems
        super().__init__("; ".join(f"[{p.code}] {p.message}" for p in problems))

    def __reduce__(self) -> tuple[type[BackpropError], tuple[Problem, ...]]:
        """Errors cross from one process to another by what they were made of."""
        return type(self), self.problems


def hint_for(problem: Problem) -> str:
    """The problem's own next step, or the one its catalogue entry names."""
    return problem.hint or CATALOGUE[problem.code].hint
