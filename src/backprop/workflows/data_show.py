"""``backprop data show``: one row as it is read, as the template writes it, and as tokens with what is learned."""

from __future__ import annotations

import itertools

from backprop.effects.probe.model import observe_model
from backprop.effects.probe.row_source import ReadRow, RowSource, is_local, source_of
from backprop.effects.probe.row_tokens import RowTokenizer
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.data.conversation import Preference, Rated, RowError
from backprop.plan.data.mask import MaskExample
from backprop.plan.data.shown import ShowReport, parts_of
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.idle import Lack, idle_flags
from backprop.plan.settings.verbs.data_show import DataShowSettings
from backprop.plan.training.facts import sequence_length_of
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request

COMMAND = "data show"


def run(request: Request[DataShowSettings]) -> Outcome:
    """Find the row, and show it; rows before it are read and no more."""
    settings = request.settings
    source = source_of(settings)
    row = _row(source, settings.row)
    if row.example is None:
        assert row.problem is not None, "a row is read or says why not"
        raise BackpropError(row.problem)
    rendered, mask = None, None
    if settings.model is not None:
        rendered, mask = _as_seen(row, *_reader(settings.model, settings), settings)
    report = ShowReport(
        source.name, settings.row, row.where, source.layout.value, parts_of(row.example), rendered, mask
    )
    lacks = {Lack.MODEL: settings.model is None, Lack.SPLITS: is_local(source.name)}
    return ok(COMMAND, report, warnings=(*idle_flags(request.origins, lacks), *request.warnings))


def _row(source: RowSource, number: int) -> ReadRow:
    found = next(itertools.islice(source.rows(), number - 1, None), None)
    if found is None:
        num_rows = sum(1 for _ in source.rows())
        message = f"There is no row {number:,}: {source.name} has {num_rows:,}."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="--row"))
    return found


def _reader(name: str, settings: DataShowSettings) -> tuple[ChatTokenizer, int]:
    """What turns a row into tokens, and how many of them the model would be given."""
    model = observe_model(name)
    if isinstance(model, Absent):
        raise BackpropError(model.problem)
    directory = model.directory or model.files_absent
    assert directory is not None, "a model without files says why it has none"
    found = (
        directory
        if isinstance(directory, Absent)
        else observe_tokenizer(directory, chat_template=settings.data.chat_template)
    )
    if isinstance(found, Absent):
        raise BackpropError(found.problem)
    return found, sequence_length_of(settings.max_seq_length, model)


def _as_seen(
    row: ReadRow, tokenizer: ChatTokenizer, max_seq_length: int, settings: DataShowSettings
) -> tuple[str, MaskExample]:
    if isinstance(row.example, (Preference, Rated)):
        message = "Preferences and ratings are shown without a model: each method writes them in its own way."
        raise BackpropError(Problem("INPUT_DATASET_FORMAT_UNSUPPORTED", message, where="--model"))
    assert row.example is not None
    tokens = RowTokenizer(tokenizer, max_seq_length, settings.data.train_on_prompt)
    try:
        written = tokens.write(row.example)
    except RowError as wrong:
        problem = Problem("INPUT_DATASET_VALIDATION_FAILED", f"{row.where}: {wrong}.", where=row.where)
        raise BackpropError(problem) from wrong
    (mask,) = tokens.show([(row.where, written)])
    return written.placed.text, mask
