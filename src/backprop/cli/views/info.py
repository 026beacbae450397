"""``backprop info`` for a person: the tables asked for, or else the machine."""

from __future__ import annotations

from backprop.cli.style import Style
from backprop.plan.quantity import gib, quantity
from backprop.workflows.info import InfoReport


def show(report: InfoReport, style: Style) -> str:
    """The asked-for tables; without any, what is here and what it allows."""
    tables = []
    if report.subcommand_tiers is not None:
        rows = [(style.cyan(t.command), t.tier.value, t.prefer) for t in report.subcommand_tiers]
        tables.append(style.table(rows, header=("command", "tier", "use instead")))
    if report.env_vars is not None:
        tables.append(style.pairs(report.env_vars) or "No BACKPROPAGATE_ variable is set.")
    if report.error_codes is not None:
        codes = [(style.cyan(e.code), str(e.exit_code), f"{e.meaning} {e.hint}") for e in report.error_codes]
        tables.append(style.table(codes, header=("code", "exit", "meaning and next step"), right=(1,)))
    if report.models is not None:
        known = [(style.cyan(m.name), quantity(m.num_parameters)) for m in report.models]
        tables.append(style.table(known, header=("model", "parameters"), right=(1,)))
    return "\n\n".join(tables) or _machine(report, style)


def _machine(report: InfoReport, style: Style) -> str:
    hardware = report.hardware
    machine = [
        ("backprop", report.version),
        ("Python", report.software.python),
        ("platform", report.platform),
        ("processors", f"{hardware.num_cpus}{', with bfloat16' if hardware.cpu_has_bf16 else ''}"),
        ("memory", f"{_gib(hardware.ram_available_bytes)} free of {_gib(hardware.ram_total_bytes)}"),
        ("disk", f"{_gib(hardware.disk_free_bytes)} free here"),
    ]
    machine += [
        ("card", f"{g.name}, {_gib(g.vram_free_bytes)} free of {_gib(g.vram_total_bytes)}") for g in hardware.gpus
    ]
    if not hardware.gpus:
        machine.append(("card", f"none: {hardware.gpus_absent}"))
    features = [
        (f.name, style.green("available") if f.available else style.yellow(f"needs: pip install {' '.join(f.missing)}"))
        for f in report.features
    ]
    return "\n\n".join(
        (
            style.pairs(machine),
            f"{style.bold('Features')}\n{style.pairs(features, indent=2)}",
            f"{style.bold('Packages')}\n{style.pairs(report.software.packages, indent=2)}",
        )
    )


def _gib(num_bytes: int | None) -> str:
    return "?" if num_bytes is None else gib(num_bytes)
