from __future__ import annotations

import pytest

from backprop.plan.data.order import epoch_order
from backprop.plan.data.split import Share, read_split


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    orders = {tuple(epoch_order(50, seed=seed, epoch=epoch, shuffle=True)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders | {tuple(range(50))}) == 5


def test_an_order_is_the_same_on_every_machine() -> None:
    assert list(epoch_order(6, seed=42, epoch=0, shuffle=True)) == [4, 3, 1, 5, 0, 2]


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "1.5", "nan", "inf"])
def test_a_number_that_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a share above 0 and below 1"):
        read_split(text)


def test_a_share_and_a_file_are_told_apart() -> None:
    assert read_split("0.1") == Share(0.1)
    assert read_split("heldout.jsonl") == "heldout.jsonl"
