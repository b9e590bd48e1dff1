"""argosy list-machines: the machines that are alive."""

from __future__ import annotations

import click

from argosy.cli.client import Client
from argosy.cli.cluster import View, machines
from argosy.cli.session import asks, json_option, list_options
from argosy.cli.table import chosen, show, size
from argosy.terminal import echo, echo_json

FIELDS = (
    "machine",
    "ip",
    "metadata",
    "name",
    "state",
    "units",
    "leader",
    "runtime",
    "version",
    "cores",
    "memory",
    "load",
    "kernel",
    "os",
    "problems",
)
DEFAULT = ("machine", "ip", "metadata")


@click.command()
@list_options(FIELDS, DEFAULT)
@json_option
@asks
def list_machines(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List the machines that are alive. Lost ones are not in this list. What a machine reports as its problem is told on stderr.

    Example: argosy list-machines --fields machine,name,state,units,load
    """
    columns = chosen(fields, FIELDS, DEFAULT)
    found = machines(client).values()
    if as_json:
        echo_json(list(found))
        return
    rows = [_row(machine, full) for machine in found]
    show([[row[column] for column in columns] for row in rows], None if no_legend else columns)
    for machine in found:
        for problem in machine.get("problems", []):
            effect = "; nothing new is placed there" if problem.get("blocking") else ""
            echo(f"Warning: machine {machine.get('name') or machine['id'][:8]}: {problem['text']}{effect}", err=True)


def _row(machine: View, full: bool) -> dict[str, str]:
    facts = machine.get("facts", {})
    return {
        "machine": machine["id"] if full else f"{machine['id'][:8]}...",
        "ip": machine.get("address", ""),
        "metadata": ",".join(f"{key}={value}" for key, value in sorted(machine.get("metadata", {}).items())),
        "name": machine.get("name", ""),
        "state": _state(machine),
        "units": str(machine.get("units", 0)),
        "leader": "leader" if machine.get("leader") else "-",
        "runtime": machine.get("runtime", ""),
        "version": machine.get("version", ""),
        "cores": str(facts.get("cores", "-")),
        "memory": size(facts["memory"]) if facts.get("memory") else "-",
        "load": f"{facts.get('load', 0):.2f}",
        "kernel": facts.get("kernel", ""),
        "os": facts.get("os", ""),
        "problems": "; ".join(problem["text"] for problem in machine.get("problems", [])),
    }


def _state(machine: View) -> str:
    if machine.get("draining"):
        return "draining"
    if machine.get("cordoned"):
        return "cordoned"
    return "blocked" if any(problem.get("blocking") for problem in machine.get("problems", [])) else "ready"
