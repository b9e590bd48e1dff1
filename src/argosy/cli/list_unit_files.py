"""argosy list-unit-files: what the cluster has been told."""

from __future__ import annotations

import click

from argosy.cli.client import Client
from argosy.cli.outcome import View, legend
from argosy.cli.session import asks, json_option
from argosy.cli.table import chosen, show, show_json
from argosy.cli.waiting import machines, units

FIELDS = ("unit", "hash", "dstate", "state", "target", "tmachine", "global", "desc")
DEFAULT = ("unit", "hash", "dstate", "state", "target")


@click.command()
@click.option("--full", "-l", is_flag=True, help="Do not shorten ids and hashes.")
@click.option("--no-legend", is_flag=True, help="Print no headings.")
@click.option("--fields", help=f"Columns, of {','.join(FIELDS)}.")
@json_option
@asks
def list_unit_files(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List the unit files that the cluster knows: what they should come to (dstate) and what they came to (state)."""
    columns = chosen(fields, FIELDS, DEFAULT)
    found, _ = units(client)
    if as_json:
        show_json(found)
        return
    known = machines(client)
    show([[_row(unit, known, full)[column] for column in columns] for unit in found], None if no_legend else columns)


def _row(unit: View, known: dict[str, View], full: bool) -> dict[str, str]:
    everywhere = bool(unit.get("everywhere"))
    places = unit.get("places", [])
    target = "global" if everywhere else legend(known.get(places[0]["machine"]), places[0]["machine"], full=full) if places else "-"
    return {
        "unit": unit["name"],
        "hash": unit.get("hash", "") if full else unit.get("hash", "")[:7],
        "dstate": unit["target"],
        "state": "-" if everywhere else unit.get("current", "inactive"),
        "target": target,
        "tmachine": target,
        "global": "true" if everywhere else "false",
        "desc": unit.get("description", ""),
    }
