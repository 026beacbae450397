"""The numbers of a run as lines that need no program of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable

from backprop.plan.events import Evaluated, Rewards, Step
from backprop.plan.runs.event_log import RecordedEvent


def metrics_text(events: Iterable[RecordedEvent]) -> str:
    """A JSON object a line for every report of the loss and every evaluation, in order."""
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in map(_metrics, events) if line)


def _metrics(recorded: RecordedEvent) -> dict[str, str | float | None] | None:
    event = recorded.event
    if isinstance(event, Step):
        return {
            "at": recorded.at,
            "step": event.step,
            "epoch": event.epoch,
            "loss": event.loss,
            "learning_rate": event.learning_rate,
            "grad_norm": event.grad_norm,
            "tokens_per_second": event.tokens_per_second,
            **_rewards(event.rewards),
        }
    if isinstance(event, Evaluated):
        return {
            "at": recorded.at,
            "step": event.step,
            "heldout_loss": event.loss,
            "heldout_tokens": event.num_tokens,
            **_rewards(event.rewards),
        }
    return None


def _rewards(rewards: Rewards | None) -> dict[str, float | None]:
    """Of a preference method; nothing for sft."""
    return {} if rewards is None else {"reward_margin": rewards.margin, "reward_accuracy": rewards.accuracy}
