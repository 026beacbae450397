from __future__ import annotations

from backprop.cli.style import Style
from backprop.cli.views.export import show
from backprop.plan.export.plan import Check, ExportedFile
from backprop.plan.export.report import ExportReport
from backprop.plan.settings.verbs.export import ExportFormat


def test_it_says_where_the_export_stands_how_large_it_is_and_what_was_proved() -> None:
    report = ExportReport(
        format=ExportFormat.MERGED,
        source="adapter",
        base="base",
        output="out",
        files=(ExportedFile("out/model.safetensors", 2_000_000), ExportedFile("out/config.json", 700)),
        num_bytes=2_000_700,
        seconds=3.2,
        checks=(Check("tensors", "2 as planned"),),
        untied=True,
        ollama_name="mine",
        pushed_to="https://hub/owner/mine",
    )
    text = show(report, Style(colour=False, unicode=True, width=80))
    assert text.splitlines() == [
        "out: merged, 2.0 MB in 3 s",
        "model.safetensors  2.0 MB",
        "config.json         700 B",
        "verified: tensors, 2 as planned",
        "The head and the embedding, one tensor in the base, are two now.",
        "In Ollama: ollama run mine",
        "On the Hub: https://hub/owner/mine",
    ]
