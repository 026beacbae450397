"""Rows as tokens with their mask, a batch at a time on all processors, each proved by decoding what it learns."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from tokenizers import Encoding

from backprop.effects.probe.tokenizer import ChatTokenizer
from backprop.plan.data.check import Check
from backprop.plan.data.conversation import RowError, Supervised
from backprop.plan.data.counts import CountedRow
from backprop.plan.data.excerpt import excerpt
from backprop.plan.data.mask import MaskExample, Piece, mask_pieces, token_mask
from backprop.plan.data.writing import Rendering, Written, write_example


@attrs.frozen
class TokenizedRow:
    """A row as it is trained on, and what it adds to the sums."""

    ids: Sequence[int]
    """Cut at the sequence length."""
    mask: bytes
    """One byte a token, 1 where it is learned; the first token never is, nothing predicts it."""
    counted: CountedRow
    ends: tuple[str, ...]


@attrs.frozen
class _Row:
    """A row before cutting."""

    where: str
    written: Written
    offsets: Sequence[tuple[int, int]]
    ids: list[int]
    mask: bytearray
    ends: tuple[str, ...]
    unended: bool
    appended: str = ""
    """The token at the end that is not in the text."""


@attrs.frozen
class RowTokenizer:
    """Writes and tokenizes rows for one model."""

    tokenizer: ChatTokenizer
    max_seq_length: int
    train_on_prompt: bool

    def write(self, example: Supervised) -> Written:
        """The row as text. Raises ``RowError`` when it cannot be written."""
        render = self.tokenizer.render if self.tokenizer.has_template else None
        written = write_example(example, render, self.tokenizer.ends)
        try:
            written.placed.text.encode("utf-8")
        except UnicodeEncodeError as wrong:
            message = f"the text holds half of a surrogate pair ({wrong.object[wrong.start]!r})"
            raise RowError(message, Check.HALF_CHARACTER) from wrong
        return written

    def tokenize(self, rows: Sequence[tuple[str, Written]]) -> list[TokenizedRow]:
        """Each (where, row) as tokens."""
        whole = self._whole(rows)
        learned = [[id for id, flag in zip(row.ids, row.mask, strict=True) if flag] for row in whole]
        decoded = self.tokenizer.decode_batch(learned)
        return [self._cut(row, text) for row, text in zip(whole, decoded, strict=True)]

    def lengths(self, rows: Sequence[Written]) -> list[int]:
        """The tokens of each row before cutting."""
        return [len(row.ids) for row in self._whole([("", written) for written in rows])]

    def show(self, rows: Sequence[tuple[str, Written]]) -> list[MaskExample]:
        """Each (where, row) in pieces that are learned or not, as far as the sequence length reaches."""
        return [self._pieces(row) for row in self._whole(rows)]

    def _whole(self, rows: Sequence[tuple[str, Written]]) -> list[_Row]:
        encodings: dict[int, Encoding] = {}
        for plain in (False, True):
            chosen = [index for index, (_, written) in enumerate(rows) if written.is_plain is plain]
            texts = [rows[index][1].placed.text for index in chosen]
            encoded = self.tokenizer.encode_batch(texts, add_special_tokens=plain) if texts else []
            encodings.update(zip(chosen, encoded, strict=True))
        return [self._masked(where, written, encodings[i]) for i, (where, written) in enumerate(rows)]

    def _masked(self, where: str, written: Written, encoding: Encoding) -> _Row:
        placed, offsets, ids = written.placed, encoding.offsets, list(encoding.ids)
        mask = token_mask(placed.text, offsets, placed.spans)
        ends, unended, appended = placed.ends, placed.unended > 0, ""
        if written.is_plain:
            facts = self.tokenizer.facts
            unended = facts.eos_token_id is None
            ends = (facts.eos_token,) if facts.eos_token and placed.spans else ()
            if facts.eos_token_id is not None and ids[-1:] != [facts.eos_token_id]:
                ids.append(facts.eos_token_id)
                mask.append(bool(placed.spans))
                appended = facts.eos_token or ""
            elif ids and not unended:
                mask[-1] = bool(placed.spans)
        if self.train_on_prompt and placed.spans:
            mask = bytearray(b"\1" * len(ids))
        return _Row(where, written, offsets, ids, mask, ends, unended, appended)

    def _cut(self, row: _Row, decoded: str) -> TokenizedRow:
        placed = row.written.placed
        ids, mask = row.ids[: self.max_seq_length], row.mask[: self.max_seq_length]
        mask[:1] = b"\0" * len(mask[:1])
        supervised = sum(mask)
        counted = CountedRow(
            where=row.where,
            excerpt=excerpt((placed.lost or placed.targets or (placed.text,))[0]),
            uncut_length=len(row.ids),
            length=len(ids),
            supervised=supervised,
            is_fully_supervised=row.written.rendering is not Rendering.RAW and 0 < supervised >= len(ids) - 1,
            lost=bool(placed.lost),
            unplaced=placed.unplaced > 0 or not self._all_found(placed.targets, decoded),
            unended=row.unended,
        )
        return TokenizedRow(ids, bytes(mask), counted, row.ends)

    def _all_found(self, targets: Sequence[str], decoded: str) -> bool:
        """Every target stands in the decoded labels, in order, blanks and the tokenizer's own rewriting aside."""
        at = 0
        for target in targets:
            place = decoded.find(target, at)
            if place < 0:
                return self._all_found_blankless(targets, decoded)
            at = place + len(target)
        return True

    def _all_found_blankless(self, targets: Sequence[str], decoded: str) -> bool:
        text, at = _blankless(decoded), 0
        for target in targets:
            rewritten = self.tokenizer.decode(self.tokenizer.encode(target).ids)
            candidates = (_blankless(target), _blankless(rewritten))
            found = [(text.find(c, at), c) for c in candidates if text.find(c, at) >= 0]
            if not found:
                return False
            at = found[0][0] + len(found[0][1])
        return True

    def _pieces(self, row: _Row) -> MaskExample:
        length = min(len(row.ids), self.max_seq_length)
        mask = row.mask[:length]
        mask[:1] = b"\0" * len(mask[:1])
        shown = min(length, len(row.offsets))
        pieces = mask_pieces(row.written.placed.text, row.offsets[:shown], mask[:shown])
        if length > shown:
            pieces = (*pieces, Piece(row.appended, bool(mask[-1])))
        return MaskExample(row.where, pieces, num_tokens=length, num_cut=len(row.ids) - length)


def _blankless(text: str) -> str:
    return "".join(text.split())
