"""argosy why: why a unit is where it is, or nowhere."""

from __future__ import annotations

import click

from argosy.cli.client import Client, segment
from argosy.cli.names import known
from argosy.cli.outcome import View, legend, sub_state
from argosy.cli.session import asks, json_option
from argosy.cli.table import show, show_json
from argosy.cli.waiting import UNITS, machines, units


@click.command()
@click.argument("unit")
@json_option
@asks
def why(client: Client, unit: str, as_json: bool) -> None:
    """Say where UNIT runs and why there; and for every other machine, which filter refuses it and why."""
    name = known([unit])[0].name
    answer = client.ask("GET", f"{UNITS}/{segment(name)}/why")
    if as_json:
        show_json(answer)
        return
    click.echo(f"{name}: {answer.get('reason', '')}")
    for line in _troubles(units(client, [name])[0]):
        click.echo(line)
    found = machines(client)
    rows = [_row(row, found) for row in answer.get("machines", [])]
    if rows:
        click.echo()
    show(rows, ("machine", "name", "verdict", "why"))


def _row(row: View, found: dict[str, View]) -> list[str]:
    verdict = "placed here" if row.get("placed") else row.get("filter") or "takes it"
    return [legend(found.get(row["machine"]), row["machine"]), row.get("name", ""), verdict, row.get("reason", "")]


def _troubles(found: list[View]) -> list[str]:
    lines = []
    for unit in found:
        for state in unit.get("states", []):
            if state.get("failures"):
                lines.append(f"it has failed {state['failures']} times in a row there ({sub_state(unit, None, state)}; see argosy status)")
            if state.get("note"):
                lines.append(f"its machine says: {state['note']}")
    return lines
