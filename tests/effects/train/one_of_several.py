"""One of several processes of a run, as a launcher starts it: ``python -m tests.effects.train.one_of_several …``."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from backprop.effects.probe.processes import observe_processes
from backprop.plan.events import Evaluated, Step
from backprop.plan.settings.training import TrainMode
from tests.effects.train.runs import make_plan, make_rows, run

ROOT = Path(__file__).parents[3]
SECONDS = 300


def asked(kind: str) -> dict[str, Any]:
    """The settings of a kind of run; both processes and the single one take them from here."""
    training: dict[str, Any] = {"max_steps": 6, "learning_rate": 1e-2, "warmup_steps": 0, "logging_steps": 1}
    training |= {"eval_every": 3, "save_steps": 3}
    if kind == "offload":
        training |= {"mode": TrainMode.FULL, "full_ft_offload": True, "learning_rate": 1e-3}
    return {"training": training}


def trained(kind: str, model_dir: Path, directory: Path, *, resume_from: Path | None = None) -> dict[str, Any]:
    """Train, as the process that the environment says; what was told of it."""
    processes = observe_processes(os.environ)
    rows, heldout = make_rows(23), make_rows(7, seed=1)
    plan = make_plan(model_dir, rows, heldout=heldout, processes=processes.count, **asked(kind))
    done = run(plan, rows, directory, heldout=heldout, processes=processes, resume_from=resume_from)
    return {
        "rank": processes.rank,
        "events": len(done.events),
        "losses": [(e.loss, e.grad_norm) for e in done.events if isinstance(e, Step)],
        "heldout": [(e.loss, e.num_tokens) for e in done.events if isinstance(e, Evaluated)],
        "steps": done.result.last_step,
    }


def launched(kind: str, model_dir: Path, directory: Path, *, count: int, resume_from: str = "") -> list[dict[str, Any]]:
    """The same run by ``count`` processes, started as torchrun starts them; what each of them reports, by rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        environ = {**os.environ, **{k: str(v) for k, v in place.items()}}
        environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", __name__, kind, str(model_dir), str(directory), resume_from]
        children.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
            )
        )
    try:
        ended = [child.communicate(timeout=SECONDS) for child in children]
    finally:
        for child in children:
            child.kill()
    for child, (_, errors) in zip(children, ended, strict=True):
        assert child.returncode == 0, errors[-4000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in ended]


if __name__ == "__main__":
    kind, model_dir, directory, resume_from = sys.argv[1:]
    report = trained(kind, Path(model_dir), Path(directory), resume_from=Path(resume_from) if resume_from else None)
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may abort a process that takes itself apart
