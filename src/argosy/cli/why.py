"""argosy why: why a unit is where it is, or nowhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click

from argosy.cli.client import Client
from argosy.cli.cluster import View, machines, reported, states, unit_path, units
from argosy.cli.names import named
from argosy.cli.outcome import describe_trouble, legend
from argosy.cli.session import asks, json_option, unit_argument
from argosy.cli.table import show
from argosy.terminal import echo, echo_json


@click.command()
@unit_argument
@json_option
@asks
def why(client: Client, word: str, as_json: bool) -> None:
    """Say where UNIT is and why there; and for every machine whether it takes it, or which filter refuses it and for what reason.

    Example: argosy why hello
    """
    name = named(word)
    answer = client.ask("GET", unit_path(name, "why"))
    if as_json:
        echo_json(answer)
        return
    found = machines(client)
    echo(f"{name}: {answer.get('reason', '')}")
    for line in _troubless(units(client, [name])[0], found, time.time()):
        echo(line)
    rows = [_row(row, found) for row in answer.get("machines", [])]
    if rows:
        echo("")
        show(rows, ("machine", "name", "verdict", "why"))


def _row(row: View, found: Mapping[str, View]) -> list[str]:
    verdict = "placed here" if row.get("placed") else row.get("filter") or "takes it"
    return [legend(found.get(row["machine"]), row["machine"]), row.get("name", ""), verdict, row.get("reason", "")]


def _troubless(found: Sequence[View], known: Mapping[str, View], now: float) -> list[str]:
    """What its machines say of it, where it does not go well."""
    lines = []
    for state in (state for unit in found for state in states(unit)):
        where = known.get(state["machine"], {}).get("name") or state["machine"][:8]
        words = describe_trouble(reported(state), now)
        if words:
            lines.append(f"{where} says: {words}")
    return lines
