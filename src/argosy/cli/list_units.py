"""argosy list-units: where units are and what they do."""

from __future__ import annotations

from collections.abc import Iterator

import click

from argosy.cli.client import Client
from argosy.cli.outcome import View, legend, state_on, sub_state
from argosy.cli.session import asks, json_option
from argosy.cli.table import chosen, show, show_json
from argosy.cli.waiting import machines, units

FIELDS = ("unit", "load", "active", "sub", "machine", "hash", "target", "since", "pid", "note")
DEFAULT = ("unit", "machine", "active", "sub")


@click.command()
@click.option("--full", "-l", is_flag=True, help="Do not shorten ids and hashes.")
@click.option("--no-legend", is_flag=True, help="Print no headings.")
@click.option("--fields", help=f"Columns, of {','.join(FIELDS)}.")
@json_option
@asks
def list_units(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List units that should be on a machine or are: where they are and what they do there."""
    columns = chosen(fields, FIELDS, DEFAULT)
    found, _ = units(client)
    if as_json:
        show_json(found)
        return
    known = machines(client)
    rows = [row for unit in found for row in _rows(unit, known, full)]
    show([[row[column] for column in columns] for row in rows], None if no_legend else columns)


def _rows(unit: View, known: dict[str, View], full: bool) -> Iterator[dict[str, str]]:
    places = {place["machine"]: place for place in unit.get("places", [])}
    wheres = list(dict.fromkeys([*places, *(state["machine"] for state in unit.get("states", []))]))
    if not wheres and unit["target"] == "inactive":
        return
    for machine_id in wheres or [""]:
        state = state_on(unit, machine_id)
        shown = state or {}
        yield {
            "unit": unit["name"],
            "load": shown.get("load", "not-found") if state else "-",
            "active": shown.get("active", "inactive"),
            "sub": sub_state(unit, places.get(machine_id), state),
            "machine": legend(known.get(machine_id), machine_id, full=full) if machine_id else "-",
            "hash": unit.get("hash", "") if full else unit.get("hash", "")[:7],
            "target": unit["target"],
            "since": str(int(shown.get("since", 0))) if shown.get("since") else "-",
            "pid": str(shown.get("pid") or "-"),
            "note": shown.get("note", ""),
        }
