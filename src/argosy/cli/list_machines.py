"""argosy list-machines: the machines that are alive."""

from __future__ import annotations

from typing import Any

import click

from argosy.api.shapes import MachineView
from argosy.cli.client import Client
from argosy.cli.cluster import MACHINES, machines
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
    if as_json:
        echo_json(client.get(dict[str, Any], MACHINES)["machines"])
        return
    found = machines(client).values()
    rows = [_row(machine, full) for machine in found]
    show([[row[column] for column in columns] for row in rows], None if no_legend else columns)
    for machine in found:
        for problem in machine.problems:
            effect = "; nothing new is placed there" if problem.blocking else ""
            echo(f"Warning: machine {machine.name or machine.id[:8]}: {problem.text}{effect}", err=True)


def _row(machine: MachineView, full: bool) -> dict[str, str]:
    facts = machine.facts
    return {
        "machine": machine.id if full else f"{machine.id[:8]}...",
        "ip": machine.address,
        "metadata": ",".join(f"{key}={value}" for key, value in sorted(machine.metadata.items())),
        "name": machine.name,
        "state": _state(machine),
        "units": str(machine.units),
        "leader": "leader" if machine.leader else "-",
        "runtime": machine.runtime,
        "version": machine.version,
        "cores": str(facts.cores or "-"),
        "memory": size(facts.memory) if facts.memory else "-",
        "load": f"{facts.load:.2f}",
        "kernel": facts.kernel,
        "os": facts.os,
        "problems": "; ".join(problem.text for problem in machine.problems),
    }


def _state(machine: MachineView) -> str:
    if machine.draining:
        return "draining"
    if machine.cordoned:
        return "cordoned"
    return "blocked" if any(problem.blocking for problem in machine.problems) else "ready"
