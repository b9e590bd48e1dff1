"""argosy list-unit-files: what the cluster has been told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from argosy.api.shapes import MachineView, UnitView
from argosy.cli.client import Client
from argosy.cli.cluster import UNITS, machines, units
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
    if as_json:
        echo_json(client.get(dict[str, Any], UNITS)["units"])
        return
    found, _ = units(client)
    known = machines(client) if {"target", "tmachine"} & set(columns) else {}
    show([[_row(unit, known, full)[column] for column in columns] for unit in found], None if no_legend else columns)


def _row(unit: UnitView, known: Mapping[str, MachineView], full: bool) -> dict[str, str]:
    where = next((place.machine for place in unit.places), "")
    target = "global" if unit.everywhere else legend(known.get(where), where, full=full) if where else "-"
    return {
        "unit": unit.name,
        "hash": unit.hash if full else unit.hash[:7],
        "dstate": unit.target,
        "state": "-" if unit.everywhere else unit.current,
        "target": target,
        "tmachine": target,
        "global": "true" if unit.everywhere else "false",
        "desc": unit.description,
    }
