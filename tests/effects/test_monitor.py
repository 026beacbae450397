"""A card that gets hot while a real run trains: it waits, goes on, or saves and ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pynvml
import pytest
import torch

from backprop.effects.monitor import SECONDS_BETWEEN_READINGS, CardMonitor, NvmlCard, nvml_card
from backprop.effects.train.interrupts import StopRequest
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Paused, Resumed, Step, Warned
from backprop.plan.training.monitor import NoReading, Reading
from tests.effects.train.runs import Trained, make_plan, make_rows, run
from tests.tiny import make_tiny_model

ROWS = make_rows(10)
TIME = "backprop.effects.monitor.time"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@attrs.define
class Clock:
    """Time that passes only when somebody sleeps, and a reading's worth between looks at it."""

    now: float = 0.0
    slept: float = 0.0
    on_sleep: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.now += SECONDS_BETWEEN_READINGS
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.on_sleep()


@attrs.define
class FakeCard:
    """Temperatures one after the other, None for a reading that fails; the last one stays."""

    temperatures: list[int | None]
    num_read: int = 0

    def read(self) -> Reading | NoReading:
        celsius = self.temperatures[min(self.num_read, len(self.temperatures) - 1)]
        self.num_read += 1
        at = 10.0 * self.num_read
        return NoReading(at, "gone") if celsius is None else Reading(at, celsius, 1, 100)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that the monitor sees."""
    found = Clock()
    monkeypatch.setattr(TIME, SimpleNamespace(monotonic=found, sleep=found.sleep))
    return found


def trained(model_dir: Path, directory: Path, card: FakeCard | None, *, steps: int = 5, **more: Any) -> Trained:
    plan = make_plan(
        model_dir,
        ROWS,
        training={"max_steps": steps, "logging_steps": 1, "save_steps": 100},
        lora={"lora_dropout": 0.3},
    )
    return run(plan, ROWS, directory, card=card, **more)


def told(done: Trained, *kinds: type[Event]) -> list[Event]:
    return [event for event in done.events if isinstance(event, kinds)]


def test_a_hot_card_pauses_the_run_which_goes_on_to_the_same_bits(
    model_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    watched = trained(model_dir, tmp_path / "hot", FakeCard([60, 91, 93, 85, 80, 70]))
    assert told(watched, Paused, Resumed) == [Paused(2, 91), Resumed(2, 80, 30.0)]
    assert clock.slept > 0
    alone = trained(model_dir, tmp_path / "cool", None)
    for name, tensor in alone.weights(5).items():
        assert torch.equal(tensor, watched.weights(5)[name]), name


def test_no_step_is_taken_during_a_pause(model_dir: Path, tmp_path: Path, clock: Clock) -> None:
    done = trained(model_dir, tmp_path, FakeCard([91, 92, 92, 79]))
    order = [e for e in done.events if isinstance(e, (Paused, Resumed, Step))]
    paused = order.index(Paused(1, 91))
    assert isinstance(order[paused + 1], Resumed)
    assert clock.slept > 0


def test_a_critical_card_ends_the_run_with_its_step_saved_to_go_on_from(
    model_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    with pytest.raises(BackpropError) as caught:
        trained(model_dir, tmp_path / "hot", FakeCard([60, 91, 96]))
    assert caught.value.problems[0].code == "RUNTIME_GPU_TEMPERATURE_CRITICAL"
    checkpoint = tmp_path / "hot" / "checkpoint-2"
    assert checkpoint.is_dir()
    resumed = trained(model_dir, tmp_path / "resumed", None, resume_from=checkpoint)
    whole = trained(model_dir, tmp_path / "whole", None)
    for name, tensor in whole.weights(5).items():
        assert torch.equal(tensor, resumed.weights(5)[name]), name
    assert clock.now > 0


def test_a_card_that_cannot_be_read_is_told_of_once_and_stops_nothing(
    model_dir: Path, tmp_path: Path, clock: Clock
) -> None:
    card = FakeCard([None])
    done = trained(model_dir, tmp_path, card)
    assert [e.code for e in done.events if isinstance(e, Warned)] == ["RUNTIME_GPU_MONITORING_FAILED"]
    assert card.num_read == 3, "it is not asked again"
    assert done.result.last_step == 5
    assert clock.slept == 0


def test_a_stop_is_heard_within_a_second_of_a_pause(model_dir: Path, tmp_path: Path, clock: Clock) -> None:
    def interrupt() -> None:
        if clock.slept > 3:
            os.kill(os.getpid(), signal.SIGINT)

    clock.on_sleep = interrupt
    done = trained(model_dir, tmp_path, FakeCard([91]))
    assert done.result.interrupted
    assert done.result.last_step == 1
    assert clock.slept <= 4
    assert (tmp_path / "checkpoint-1").is_dir()


def test_a_second_interrupt_during_a_pause_stops_at_once(model_dir: Path, tmp_path: Path, clock: Clock) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    clock.on_sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        trained(model_dir, tmp_path, FakeCard([91]))


def test_a_run_without_a_card_is_not_watched(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("the driver is asked")

    monkeypatch.setattr(pynvml, "nvmlInit", never)
    assert trained(model_dir, tmp_path, None, steps=1).result.last_step == 1


def test_readings_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 4.9, 5.0, 6.0])
    monkeypatch.setattr(TIME, SimpleNamespace(monotonic=lambda: next(times)))
    card = FakeCard([50])
    watch = CardMonitor(card, StopRequest(), emit=lambda _event: None)
    state, control = SimpleNamespace(global_step=1, max_steps=9), SimpleNamespace()
    for _ in range(5):
        watch.on_step_end(None, state, control)
    assert card.num_read == 2


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A driver with two cards, as its library answers."""
    world = SimpleNamespace(celsius={"a": 61, "b": 72}, memory=SimpleNamespace(used=3, total=8), open=0)

    def temperature(handle: str, _sensor: int) -> int:
        if isinstance(world.celsius[handle], Exception):
            raise world.celsius[handle]
        return int(world.celsius[handle])

    def memory(_handle: str) -> Any:
        if isinstance(world.memory, Exception):
            raise world.memory
        return world.memory

    def opened(by: int) -> None:
        world.open += by

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: opened(1))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: opened(-1))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda i: "ab"[i])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", temperature)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield world
    assert world.open == 0


@pytest.mark.usefixtures("driver")
def test_the_card_that_is_read_is_the_first_that_cuda_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    with nvml_card() as card:
        first = card.read()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        second = card.read()
    assert isinstance(first, Reading)
    assert isinstance(second, Reading)
    assert (first.celsius, first.used_bytes, first.total_bytes) == (61, 3, 8)
    assert second.celsius == 72


def test_a_card_without_memory_of_its_own_is_read_all_the_same(driver: SimpleNamespace) -> None:
    driver.memory = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    with nvml_card() as card:
        found = card.read()
    assert isinstance(found, Reading)
    assert (found.celsius, found.total_bytes) == (61, 0)


def test_a_reading_that_fails_is_a_value(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.celsius["a"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    with nvml_card() as card:
        lost = card.read()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
        hidden = card.read()
    assert isinstance(lost, NoReading)
    assert "does not answer" in lost.reason
    assert isinstance(hidden, NoReading)
    assert "no card" in hidden.reason


def test_a_driver_that_is_not_there_makes_every_reading_fail() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with nvml_card() as card:
            assert isinstance(card.read(), NoReading)
            assert isinstance(card, NvmlCard)
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has a driver")
