"""The history against a dictionary: whatever happens to its files, what it says is what was last written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.plan.runs.examples import a_record

from backprop.effects.store.history import HistoryStore
from backprop.effects.store.index import read_history
from backprop.effects.store.layout import history_path
from backprop.plan.runs.record import RunRecord
from backprop.plan.settings.verbs.runs import RunStatus

ENDED = st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED])
RUN_IDS = st.integers(0, 59).map(lambda i: f"20260101-1200{i:02}-aaaa")


class History(RuleBasedStateMachine):
    """Runs begin, end and are removed; the index is lost, cut short and replaced by an older one."""

    runs = Bundle("runs")

    @initialize()
    def begin(self) -> None:
        """An empty output directory."""
        self.directory = Path(tempfile.mkdtemp(prefix="history-"))
        self.store = HistoryStore(self.directory)
        self.expected: dict[str, tuple[RunStatus, int]] = {}
        self.older = b""

    @rule(target=runs, run_id=RUN_IDS, status=ENDED)
    def start(self, run_id: str, status: RunStatus) -> str:
        """A run is written down."""
        if run_id not in self.expected:
            self.store.start(a_record(run_id, run_status=status))
            self.expected[run_id] = (status, 0)
        return run_id

    @rule(run_id=runs, status=ENDED, steps=st.integers(1, 99))
    def update(self, run_id: str, status: RunStatus, steps: int) -> None:
        """Its record changes."""
        if run_id in self.expected:
            self.store.update(run_id, lambda record: changed(record, status, steps))
            self.expected[run_id] = (status, steps)

    @rule(run_id=consumes(runs))
    def remove(self, run_id: str) -> None:
        """The user deletes a run's directory."""
        if run_id in self.expected:
            shutil.rmtree(self.store.run_dir(run_id))
            del self.expected[run_id]

    @rule()
    def lose_the_index(self) -> None:
        """The index is deleted."""
        history_path(self.directory).unlink(missing_ok=True)

    @rule(share=st.floats(0, 0.99))
    def damage_the_index(self, share: float) -> None:
        """The index is cut short, as by a disk that lost its end."""
        path = history_path(self.directory)
        if path.exists():
            content = path.read_bytes()
            path.write_bytes(content[: int(share * len(content))])

    @rule()
    def keep_the_index(self) -> None:
        """A copy is made, as by a backup."""
        path = history_path(self.directory)
        self.older = path.read_bytes() if path.exists() else b""

    @rule()
    def bring_the_older_index_back(self) -> None:
        """The copy takes the place of what is there."""
        if self.older:
            history_path(self.directory).write_bytes(self.older)

    @invariant()
    def it_says_what_was_written(self) -> None:
        """Newest first, each with its last status and steps."""
        if hasattr(self, "store"):
            rows = read_history(self.directory).rows
            assert {row.run_id: (row.run_status, row.steps_done) for row in rows} == self.expected
            assert len(rows) == len(self.expected)

    def teardown(self) -> None:
        """Remove the directory."""
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


def changed(record: RunRecord, status: RunStatus, steps: int) -> RunRecord:
    """The record with another end."""
    return attrs.evolve(record, run_status=status, steps_done=steps)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
