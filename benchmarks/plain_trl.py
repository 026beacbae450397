"""What somebody would write with TRL alone; ``benchmarks.throughput`` compares it with ``backprop train``.

``python benchmarks/plain_trl.py MODEL DATA.jsonl OUTPUT STEPS BATCH RANK`` prints a JSON object when it begins to
train, after every step, and at the end: times, tokens, and the places of all batches, padding included.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

MODEL, DATA, OUTPUT, STEPS, BATCH, RANK = sys.argv[1:]


class Told(TrainerCallback):  # type: ignore[misc]
    """Prints when training begins, and after every step."""

    def on_train_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        print(json.dumps({"begun": time.time()}), flush=True)

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        told = {"at": time.time(), "step": state.global_step, "tokens": state.num_input_tokens_seen}
        print(json.dumps(told), flush=True)


class Counted:
    """A collator that counts the places of its batches."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.places = inner, 0

    def __call__(self, rows: list[Any]) -> Any:
        batch = self.inner(rows)
        self.places += batch["input_ids"].numel()
        return batch


trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32),
    args=SFTConfig(
        output_dir=OUTPUT,
        max_steps=int(STEPS),
        per_device_train_batch_size=int(BATCH),
        gradient_accumulation_steps=1,
        learning_rate=2e-4,
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        max_length=1024,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        include_num_input_tokens_seen="non_padding",
    ),
    train_dataset=load_dataset("json", data_files=DATA, split="train"),
    processing_class=AutoTokenizer.from_pretrained(MODEL),
    peft_config=LoraConfig(
        task_type="CAUSAL_LM", r=int(RANK), lora_alpha=2 * int(RANK), lora_dropout=0.0, target_modules="all-linear"
    ),
    callbacks=[Told()],
)
trainer.data_collator = counted = Counted(trainer.data_collator)
trainer.train()
trainer.save_model()
print(json.dumps({"places": counted.places, "tokens": trainer.state.num_input_tokens_seen}), flush=True)
