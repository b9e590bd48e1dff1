"""argosy why: why a unit is where it is, or nowhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click

from argosy.api.shapes import MachineView, UnitView, WhyAnswer, WhyOn
from argosy.cli.client import Client
from argosy.cli.cluster import machines, unit_path, units
from argosy.cli.names import named
from argosy.cli.outcome import describe_trouble, legend
from argosy.cli.session import asks, json_option, show_json, unit_argument
from argosy.cli.table import show
from argosy.terminal import echo


@click.command()
@unit_argument
@json_option
@asks
def why(client: Client, word: str, as_json: bool) -> None:
    """Say where UNIT is and why there; and for every machine whether it takes it, or which filter refuses it and for what reason.

    Example: argosy why hello
    """
    name = named(word)
    answer = client.get(WhyAnswer, unit_path(name, "why"))
    if as_json:
        show_json(answer)
        return
    found = machines(client)
    echo(f"{name}: {answer.reason}")
    for line in _troubles(units(client, [name])[0], found, time.time()):
        echo(line)
    rows = [_row(row, found) for row in answer.machines]
    if rows:
        echo("")
        show(rows, ("machine", "name", "verdict", "why"))


def _row(row: WhyOn, found: Mapping[str, MachineView]) -> list[str]:
    verdict = "placed here" if row.placed else row.filter or "takes it"
    return [legend(found.get(row.machine), row.machine), row.name, verdict, row.reason]


def _troubles(found: Sequence[UnitView], known: Mapping[str, MachineView], now: float) -> list[str]:
    """What its machines say of it, where it does not go well."""
    lines = []
    for state in (state for unit in found for state in unit.states):
        machine = known.get(state.machine)
        words = describe_trouble(state, now)
        if words:
            lines.append(f"{machine.name if machine and machine.name else state.machine[:8]} says: {words}")
    return lines
