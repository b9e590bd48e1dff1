"""argosy list-units: where units are and what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from argosy.api.shapes import MachineView, UnitView
from argosy.cli.client import Client
from argosy.cli.cluster import UNITS, machines, placed_on, reported_on, units, where_seen
from argosy.cli.outcome import legend
from argosy.cli.session import asks, json_option, list_options
from argosy.cli.table import chosen, show
from argosy.model import UnitState
from argosy.terminal import echo_json
from argosy.verdict import sub_state

FIELDS = ("unit", "machine", "active", "sub", "load", "hash", "target", "since", "pid", "note")
DEFAULT = ("unit", "machine", "active", "sub")


@click.command()
@list_options(FIELDS, DEFAULT)
@json_option
@asks
def list_units(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List the units that are on a machine, or should be: where they are and what they do there. A unit that is nowhere yet is "waiting":
    argosy why tells what is in the way.

    Example: argosy list-units --fields unit,sub,note
    """
    columns = chosen(fields, FIELDS, DEFAULT)
    if as_json:
        echo_json(client.get(dict[str, Any], UNITS)["units"])
        return
    found, _ = units(client)
    known = machines(client) if "machine" in columns else {}
    rows = [row for unit in found for row in rows_of(unit, known, full)]
    show([[row[column] for column in columns] for row in rows], None if no_legend else columns)


def rows_of(unit: UnitView, known: Mapping[str, MachineView], full: bool) -> Iterator[dict[str, str]]:
    """A row for each machine; one for a unit that is wanted and nowhere."""
    wheres = list(where_seen(unit))
    if not wheres and unit.target == "inactive":
        return
    for machine_id in wheres or [""]:
        state = reported_on(unit, machine_id)
        shown = state or UnitState(unit.name, machine_id)
        yield {
            "unit": unit.name,
            "load": state.load if state else "-",
            "active": shown.active,
            "sub": sub_state(placed_on(unit, machine_id), state) if machine_id else "waiting",
            "machine": legend(known.get(machine_id), machine_id, full=full) if machine_id else "-",
            "hash": unit.hash if full else unit.hash[:7],
            "target": unit.target,
            "since": str(int(shown.since)) if shown.since else "-",
            "pid": str(shown.pid or "-"),
            "note": shown.note,
        }
