"""transformers' own integrations send a run's numbers to its trackers; here is only where they put files."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer
from transformers.integrations import TensorBoardCallback


def place_trackers(trainer: Trainer, run_dir: Path | None) -> None:
    """TensorBoard's files stand in the run's directory, unless TENSORBOARD_LOGGING_DIR says otherwise.

    The library would put them where checkpoints are put together, and that is swept.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None and run_dir is not None:
            callback.logging_dir = str(run_dir / "tensorboard")


def report_evaluation(trainer: Trainer, loss: float) -> None:
    """Tell the trackers a held-out loss, between the end of a step and that step's own report, which is still due."""
    is_due = trainer.control.should_log
    trainer.log({"eval_loss": loss})
    trainer.control.should_log = is_due
