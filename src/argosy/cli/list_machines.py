"""argosy list-machines: the machines that are alive."""

from __future__ import annotations

import click

from argosy.cli.client import Client
from argosy.cli.cluster import View, machines
from argosy.cli.session import asks, json_option, list_options
from argosy.cli.table import chosen, show, show_json, size

FIELDS = ("machine", "ip", "metadata", "name", "state", "units", "leader", "runtime", "version", "cores", "memory", "load", "kernel", "os")
DEFAULT = ("machine", "ip", "metadata")


@click.command()
@list_options(FIELDS, DEFAULT)
@json_option
@asks
def list_machines(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List the machines that are alive. Lost ones are not in this list.

    Example: argosy list-machines --fields machine,name,state,units,load
    """
    columns = chosen(fields, FIELDS, DEFAULT)
    found = machines(client).values()
    if as_json:
        show_json(list(found))
        return
    rows = [_row(machine, full) for machine in found]
    show([[row[column] for column in columns] for row in rows], None if no_legend else columns)


def _row(machine: View, full: bool) -> dict[str, str]:
    facts = machine.get("facts", {})
    return {
        "machine": machine["id"] if full else f"{machine['id'][:8]}...",
        "ip": machine.get("address", ""),
        "metadata": ",".join(f"{key}={value}" for key, value in sorted(machine.get("metadata", {}).items())),
        "name": machine.get("name", ""),
        "state": "draining" if machine.get("draining") else "cordoned" if machine.get("cordoned") else "ready",
        "units": str(machine.get("units", 0)),
        "leader": "leader" if machine.get("leader") else "-",
        "runtime": machine.get("runtime", ""),
        "version": machine.get("version", ""),
        "cores": str(facts.get("cores", "-")),
        "memory": size(facts["memory"]) if facts.get("memory") else "-",
        "load": f"{facts.get('load', 0):.2f}",
        "kernel": facts.get("kernel", ""),
        "os": facts.get("os", ""),
    }
