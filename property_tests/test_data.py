"""Laws of the data: what is learned, how rows share sequences, which are held out, in which order they come."""

from __future__ import annotations

from array import array
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.effects.probe.smollm2 import chat_tokenizer, learned_text, tokenized

from backprop.effects.files.token_store import TokenStore
from backprop.effects.probe.tokenizer import ChatTokenizer
from backprop.plan.data.compared import compared_text, content_hash
from backprop.plan.data.conversation import Conversation
from backprop.plan.data.order import epoch_order
from backprop.plan.data.packing import count_packed, pack
from backprop.plan.data.split import Share, heldout_threshold
from backprop.plan.data.templates import BUILTIN_TEMPLATES
from property_tests.strategies.conversations import conversations, trimmed_texts

TEMPLATES = (None, *BUILTIN_TEMPLATES)
BLANK_BEFORE_ANSWERS = ("mistral", "plain")


def said(*turns: str) -> Conversation:
    """User and assistant in turn."""
    roles = [("user", "assistant")[i % 2] for i in range(len(turns))]
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, turns, strict=True))
    return Conversation(messages, tuple(role == "assistant" for role in roles))


def answers(conversation: Conversation, tokenizer: ChatTokenizer) -> list[str]:
    """What is to be learned, without the few characters that the tokenizer has no bytes for."""
    contents = [m["content"] for m in conversation.messages if m["role"] == "assistant" and m["content"].strip()]
    return [tokenizer.decode(tokenizer.encode(content).ids) for content in contents]


def blankless(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(conversations(trimmed_texts()))
def test_exactly_the_answers_and_their_ends_are_learned(template: str | None, conversation: Conversation) -> None:
    tokenizer = chat_tokenizer(template)
    row = tokenized(conversation, tokenizer)
    before = " " if template in BLANK_BEFORE_ANSWERS else ""
    expected = "".join(f"{before}{text}<|im_end|>" for text in answers(conversation, tokenizer))
    assert learned_text(row, tokenizer) == expected
    assert not any((row.counted.lost, row.counted.unplaced, row.counted.unended))


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(conversations())
@example(said("a", "yes ", "yes please", "no"))
def test_blanks_around_texts_change_nothing_of_what_is_learned(
    template: str | None, conversation: Conversation
) -> None:
    tokenizer = chat_tokenizer(template)
    row = tokenized(conversation, tokenizer)
    expected = "".join(text + "<|im_end|>" for text in answers(conversation, tokenizer))
    assert blankless(learned_text(row, tokenizer)) == blankless(expected)
    assert not any((row.counted.lost, row.counted.unplaced, row.counted.unended))


@settings(max_examples=40, deadline=None)
@given(conversations())
def test_with_the_prompt_every_token_but_the_first_is_learned(conversation: Conversation) -> None:
    tokenizer = chat_tokenizer()
    row = tokenized(conversation, tokenizer, train_on_prompt=True)
    learns = bool(answers(conversation, tokenizer))
    assert row.mask == b"\0" + (b"\1" if learns else b"\0") * (len(row.ids) - 1)
    assert row.ids == tokenized(conversation, tokenizer).ids


@settings(max_examples=40, deadline=None)
@given(conversations(), st.integers(1, 40))
def test_a_cut_row_is_the_beginning_of_the_whole_one(conversation: Conversation, limit: int) -> None:
    tokenizer = chat_tokenizer()
    whole, cut = tokenized(conversation, tokenizer), tokenized(conversation, tokenizer, max_seq_length=limit)
    assert (cut.ids, cut.mask) == (whole.ids[:limit], whole.mask[:limit])
    assert cut.counted.uncut_length == len(whole.ids)


@st.composite
def lengths_and_capacity(draw: st.DrawFn) -> tuple[list[int], int]:
    capacity = draw(st.integers(1, 100))
    longest = draw(st.sampled_from((capacity, 2 * capacity)))
    return draw(st.lists(st.integers(1, longest), max_size=200)), capacity


@given(lengths_and_capacity())
def test_packing_puts_every_row_once_into_a_sequence_with_room_for_it(rows: tuple[list[int], int]) -> None:
    lengths, capacity = rows
    groups = pack(lengths, capacity)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or sum(lengths[row] for row in group) <= capacity for group in groups)
    assert pack(lengths, capacity) == groups


@given(lengths_and_capacity())
def test_counting_sequences_agrees_with_packing_them(rows: tuple[list[int], int]) -> None:
    lengths, capacity = rows
    counts = [(length, lengths.count(length)) for length in set(lengths)]
    assert count_packed(counts, capacity) == len(pack(lengths, capacity))


@given(lengths_and_capacity())
def test_no_two_sequences_could_be_one(rows: tuple[list[int], int]) -> None:
    lengths, capacity = rows
    used = sorted(sum(lengths[row] for row in group) for group in pack(lengths, capacity))
    assert len(used) < 2 or used[0] + used[1] > capacity


@given(st.integers(0, 300), st.integers(0, 2**64), st.integers(0, 5))
def test_an_epoch_visits_every_sequence_once(num_sequences: int, seed: int, epoch: int) -> None:
    order = epoch_order(num_sequences, seed=seed, epoch=epoch, shuffle=True)
    assert sorted(order) == list(range(num_sequences))
    assert order == epoch_order(num_sequences, seed=seed, epoch=epoch, shuffle=True)
    assert list(epoch_order(num_sequences, seed=seed, epoch=epoch, shuffle=False)) == list(range(num_sequences))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60), st.floats(0.001, 0.999))
@example([1, 2, 3, 4], 0.01)
@example([1, 2, 3, 4], 0.99)
def test_a_share_leaves_rows_on_both_sides_and_equal_rows_on_one(hashes: list[int], share: float) -> None:
    threshold = heldout_threshold(array("Q", hashes), Share(share))
    if len(set(hashes)) < 2:
        assert threshold is None
        return
    assert threshold is not None
    num_held = sum(h <= threshold for h in hashes)
    assert 0 < num_held < len(hashes)
    if len(set(hashes)) == len(hashes):
        assert num_held == min(max(round(share * len(hashes)), 1), len(hashes) - 1)
    assert threshold == heldout_threshold(array("Q", reversed(hashes)), Share(share))


@given(conversations(), conversations(), st.integers(0, 2**64 - 1))
def test_equal_content_has_an_equal_hash_and_other_content_another(
    one: Conversation, other: Conversation, seed: int
) -> None:
    copied = Conversation(tuple(dict(reversed(list(m.items()))) for m in one.messages), one.learned)
    assert content_hash(one, seed=seed) == content_hash(copied, seed=seed)
    assert (content_hash(one, seed=seed) == content_hash(other, seed=seed)) == (
        compared_text(one) == compared_text(other)
    )


_ROWS = st.lists(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 1)), max_size=50), max_size=20)


@given(_ROWS, st.randoms(use_true_random=False))
def test_stored_rows_come_back_in_any_order_and_between_writes(
    rows: list[list[tuple[int, int]]], random: Random
) -> None:
    store = TokenStore()
    for number, row in enumerate(rows):
        store.append([id for id, _ in row], [flag for _, flag in row])
        index = random.randint(0, number)
        ids, mask = store.row(index)
        assert list(zip(ids, mask, strict=True)) == rows[index]
    assert [store.length(i) for i in range(len(store))] == [len(row) for row in rows]
    store.close()
