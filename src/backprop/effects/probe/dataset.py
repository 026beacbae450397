"""One streaming pass over the data: what its rows are, what of them is learned, and what is wrong with them."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator

from backprop.effects.files.rows import hash_files
from backprop.effects.files.token_store import RowSinks, TokenStore
from backprop.effects.probe.row_answers import WrittenRow, tokenize_rows, write_row
from backprop.effects.probe.row_source import ReadRow, RowSource, open_source, row_problem
from backprop.effects.probe.row_tokens import RowTokenizer
from backprop.effects.probe.tokenizer import ChatTokenizer
from backprop.plan.data.compared import content_hash
from backprop.plan.data.conversation import RowError
from backprop.plan.data.counts import TokenCounter
from backprop.plan.data.faults import FaultCounter
from backprop.plan.data.layout import Layout
from backprop.plan.data.mask import MaskExample
from backprop.plan.data.split import Share, heldout_threshold, read_split
from backprop.plan.data.traces import TraceBand, TraceCounter, TraceVerdict, judge_traces
from backprop.plan.data.writing import TEMPLATE_ONLY, rendering_of
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts, DatasetFacts, Ratings
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings

_BATCH_ROWS = 256
_BROKEN_SHOWN = 20


def ignore_progress(num_rows: int) -> None:
    """Tell nobody."""


def observe_data(
    settings: DataSettings,
    *,
    max_seq_length: int,
    seed: int,
    tokenizer: ChatTokenizer | Absent,
    method: Objective = Objective.SFT,
    rows: RowSinks | None = None,
    progress: Callable[[int], None] = ignore_progress,
) -> DataFacts | Absent:
    """Read the data once, writing tokenized rows to ``rows`` as they come; a share held out takes a second reading.

    Of a pair both answers are written, the chosen one first. Rows without a token to learn are counted and left out.
    ``progress`` hears the number of rows read. Memory does not
    grow with the data but for 8 bytes a row for a share. Absent carries the first problem
    that kept the data from being read at all; a row that is broken stands in ``DatasetFacts.broken``.
    """
    try:
        return _observe(settings, max_seq_length, seed, tokenizer, method, rows, progress)
    except BackpropError as error:
        return Absent(error.problems[0])


def mask_examples(
    settings: DataSettings,
    *,
    max_seq_length: int,
    tokenizer: ChatTokenizer,
    count: int,
    method: Objective = Objective.SFT,
) -> tuple[MaskExample, ...]:
    """The first ``count`` rows that are not broken, in pieces that are learned or not; of a pair both answers.

    Raises ``BackpropError``.
    """
    source = _open_train(settings, tokenizer, method)
    tokens = _row_tokenizer(settings, tokenizer, max_seq_length, method)
    read = itertools.islice(source.rows(), settings.max_samples)
    written = (_write(row, tokens) for row in read)
    usable = (row for row in written if isinstance(row, WrittenRow))
    return tuple(tokens.show([named for row in itertools.islice(usable, count) for named in row.named]))


def _observe(
    settings: DataSettings,
    max_seq_length: int,
    seed: int,
    tokenizer: ChatTokenizer | Absent,
    method: Objective,
    rows: RowSinks | None,
    progress: Callable[[int], None],
) -> DataFacts:
    source = _open_train(settings, tokenizer, method)
    split = _split(settings)
    tokens = None
    if not isinstance(tokenizer, Absent):
        tokens = _row_tokenizer(settings, tokenizer, max_seq_length, method)
    band = TraceBand(settings.min_trace_tokens, settings.max_trace_tokens) if settings.reasoning_trace else None
    train = _Side(source, tokens, rows.train if rows else None, band)
    heldout = None if split is None else train if isinstance(split, str) else _Side(source, tokens, _sink(rows), band)
    if isinstance(split, str):
        held_source = open_source(split, settings, flag="--eval-split", method=method)
        _check_template(held_source, tokenizer)
        heldout = _Side(held_source, tokens, _sink(rows), band)
    is_heldout = _chooser(split, source, settings.max_samples, seed) if isinstance(split, Share) else _nobody
    seen = 0
    for row in itertools.islice(source.rows(), settings.max_samples):
        (heldout if heldout is not None and is_heldout(row) else train).take(row)
        seen += 1
        if seen % _BATCH_ROWS == 0:
            progress(seen)
    if isinstance(split, str) and heldout is not None:
        for row in heldout.source.rows():
            heldout.take(row)
    progress(seen)
    return DataFacts(train=train.facts(), heldout=None if heldout is None else heldout.facts())


def _row_tokenizer(
    settings: DataSettings, tokenizer: ChatTokenizer, max_seq_length: int, method: Objective
) -> RowTokenizer:
    """Of answers that are judged the prompt is never learned."""
    return RowTokenizer(tokenizer, max_seq_length, settings.train_on_prompt and method is Objective.SFT)


class _Side:
    """The rows of one side, tokenized in batches, and the sums over them."""

    def __init__(
        self, source: RowSource, tokens: RowTokenizer | None, sink: TokenStore | None, band: TraceBand | None
    ) -> None:
        self.source = source
        self._tokens = tokens
        self._sink = sink
        self._counter = TokenCounter()
        self._batch: list[WrittenRow] = []
        self._band = band
        self._traces = TraceCounter()
        self._faults = FaultCounter()
        self._ratings: dict[bool, int] = {}
        self._rows = self._num_broken = 0
        self._broken: list[Problem] = []

    def take(self, row: ReadRow) -> None:
        """Count a row, and tokenize it with the next batch."""
        self._rows += 1
        if row.problem is not None:
            self._break(row.problem)
        elif self._tokens is not None and self._has_good_traces(row, self._tokens):
            written = _write(row, self._tokens)
            if isinstance(written, Problem):
                self._break(written)
            else:
                assert row.example is not None, "it was written"
                self._faults.add(row.example, row.where)
                self._batch.append(written)
                if len(self._batch) == _BATCH_ROWS:
                    self._flush()

    def _has_good_traces(self, row: ReadRow, tokens: RowTokenizer) -> bool:
        """True also where traces are not asked for."""
        if self._band is None or row.example is None:
            return True
        verdict = judge_traces(row.example, self._band, lambda text: len(tokens.tokenizer.encode(text).ids))
        self._traces.add(verdict, row.where)
        return verdict is TraceVerdict.KEPT

    def facts(self) -> DatasetFacts:
        """What was found."""
        self._flush()
        digest, num_bytes = hash_files(self.source.paths)
        has_template = self._tokens is None or self._tokens.tokenizer.has_template
        return DatasetFacts(
            name=self.source.name,
            files=tuple(str(path) for path in self.source.paths),
            fingerprint=digest,
            num_bytes=num_bytes,
            row_format=self.source.layout.value,
            rendering=rendering_of(self.source.layout, has_template=has_template).value,
            rows=self._rows,
            broken=tuple(self._broken),
            traces=None if self._band is None or self._tokens is None else self._traces.facts(),
            num_broken=self._num_broken,
            tokens=None if self._tokens is None else self._counter.facts(),
            ratings=self._rated(),
            faults=self._faults.facts(),
        )

    def _rated(self) -> Ratings | None:
        if self._tokens is None or self.source.layout is not Layout.KTO:
            return None
        return Ratings(desirable=self._ratings.get(True, 0), undesirable=self._ratings.get(False, 0))

    def _break(self, problem: Problem) -> None:
        self._num_broken += 1
        if len(self._broken) < _BROKEN_SHOWN:
            self._broken.append(problem)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch or self._tokens is None:
            return
        for row in tokenize_rows(batch, self._tokens):
            self._counter.add(row.counted, ends=row.ends)
            if not row.counted.is_trained:
                continue
            if row.rating is not None:
                self._ratings[row.rating] = self._ratings.get(row.rating, 0) + 1
            if self._sink is not None:
                for answer in row.answers:
                    self._sink.append(answer.ids, answer.mask, is_good=answer.is_good)


def _write(row: ReadRow, tokens: RowTokenizer) -> WrittenRow | Problem:
    if row.example is None:
        assert row.problem is not None, "a row is read or says why not"
        return row.problem
    try:
        return write_row(row.where, row.example, tokens)
    except RowError as wrong:
        return row_problem(row.where, str(wrong))


def _open_train(settings: DataSettings, tokenizer: ChatTokenizer | Absent, method: Objective) -> RowSource:
    if settings.dataset_name is None:
        raise BackpropError(
            Problem("INPUT_VALIDATION_FAILED", "No data set was given.", where="--data", hint="Pass --data FILE.")
        )
    source = open_source(settings.dataset_name, settings, flag="--data", method=method)
    _check_template(source, tokenizer)
    return source


def _check_template(source: RowSource, tokenizer: ChatTokenizer | Absent) -> None:
    if isinstance(tokenizer, Absent) or tokenizer.has_template or source.layout not in TEMPLATE_ONLY:
        return
    message = f"The rows of {source.name} are conversations, and the model has no chat template to write them with."
    raise BackpropError(Problem("INPUT_CHAT_TEMPLATE_MISSING", message, where="--chat-template"))


def _split(settings: DataSettings) -> Share | str | None:
    if settings.eval_split is None:
        return None
    try:
        return read_split(settings.eval_split)
    except ValueError as wrong:
        message = f'--eval-split is "{settings.eval_split}"; expected {wrong}.'
        raise BackpropError(Problem("CONFIG_INVALID_SETTING", message, where="--eval-split")) from wrong


def _sink(rows: RowSinks | None) -> TokenStore | None:
    return rows.heldout if rows else None


def _nobody(_: ReadRow) -> bool:
    return False


def _chooser(share: Share, source: RowSource, max_samples: int | None, seed: int) -> Callable[[ReadRow], bool]:
    """Says of a row whether it is held out; reads the data once to know how many rows there are."""
    hashes = array("Q", _hashes(source, max_samples, seed))
    threshold = heldout_threshold(hashes, share)
    if threshold is None:
        message = f"No row of {source.name} can be held out: it has no two rows that differ, case and blanks aside."
        hint = "Give a file of held-out rows to --eval-split, or leave it out."
        raise BackpropError(Problem("INPUT_DATASET_INVALID", message, where="--eval-split", hint=hint))
    return lambda row: row.example is not None and content_hash(row.example, seed=seed) <= threshold


def _hashes(source: RowSource, max_samples: int | None, seed: int) -> Iterator[int]:
    for row in itertools.islice(source.rows(), max_samples):
        if row.example is not None:
            yield content_hash(row.example, seed=seed)
