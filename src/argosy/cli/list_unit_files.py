"""argosy list-unit-files: what the cluster has been told."""

from __future__ import annotations

from collections.abc import Mapping

import click

from argosy.cli.client import Client
from argosy.cli.cluster import View, machines, places, units
from argosy.cli.outcome import legend
from argosy.cli.session import asks, json_option, list_options
from argosy.cli.table import chosen, show
from argosy.terminal import echo_json

FIELDS = ("unit", "hash", "dstate", "state", "target", "tmachine", "global", "desc")
DEFAULT = ("unit", "hash", "dstate", "state", "target")


@click.command()
@list_options(FIELDS, DEFAULT)
@json_option
@asks
def list_unit_files(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List the unit files that the cluster knows: what each should come to (dstate: inactive, loaded or launched), what it came to (state),
    and the machine it is placed on (target; "global" for one that runs on every machine that fits).

    Example: argosy list-unit-files --fields unit,dstate,desc
    """
    columns = chosen(fields, FIELDS, DEFAULT)
    found, _ = units(client)
    if as_json:
        echo_json(found)
        return
    known = machines(client) if {"target", "tmachine"} & set(columns) else {}
    show([[_row(unit, known, full)[column] for column in columns] for unit in found], None if no_legend else columns)


def _row(unit: View, known: Mapping[str, View], full: bool) -> dict[str, str]:
    everywhere = bool(unit.get("everywhere"))
    where = next((place["machine"] for place in places(unit)), "")
    target = "global" if everywhere else legend(known.get(where), where, full=full) if where else "-"
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
