"""argosy cordon, uncordon, drain: what the operator orders about a machine."""

from __future__ import annotations

import time

import click

from argosy.cli.client import Client, segment
from argosy.cli.outcome import View
from argosy.cli.session import asks
from argosy.cli.waiting import units
from argosy.errors import ArgosyError

PATIENCE = 300.0
"""Seconds that drain waits for a machine to become empty."""


@click.command()
@click.argument("machine")
@asks
def cordon(client: Client, machine: str) -> None:
    """Place nothing new on MACHINE (its id, the beginning of it, or its name); what is there stays."""
    answer = client.ask("POST", f"/argosy/v1/machines/{segment(machine)}/cordon", {})
    click.echo(f"Machine {answer['machine'][:8]}... is cordoned: nothing new is placed there. Undo with: argosy uncordon {machine}")


@click.command()
@click.argument("machine")
@asks
def uncordon(client: Client, machine: str) -> None:
    """Let MACHINE take units again."""
    answer = client.ask("POST", f"/argosy/v1/machines/{segment(machine)}/uncordon", {})
    click.echo(f"Machine {answer['machine'][:8]}... takes units again")


@click.command()
@click.argument("machine")
@click.option("--no-block", is_flag=True, help="Do not wait until the machine is empty.")
@asks
def drain(client: Client, machine: str, no_block: bool) -> None:
    """Move every unit off MACHINE, the new copy first, and wait until it is empty. Undo with uncordon."""
    machine_id = client.ask("POST", f"/argosy/v1/machines/{segment(machine)}/drain", {})["machine"]
    deadline = time.monotonic() + PATIENCE
    left: set[str] | None = None
    index = 0
    while not no_block:
        found, index = units(client, (), index, 10.0)
        here = {unit["name"] for unit in found if not unit.get("everywhere") and _stays(unit, machine_id)}
        for name in sorted((left or set()) - here):
            click.echo(f"Unit {name} moved away")
        left = here
        if not here:
            break
        if time.monotonic() > deadline:
            raise ArgosyError(f"still on {machine}: {', '.join(sorted(here))}", remedy=f"argosy why {min(here)} tells what is in the way")
    click.echo(f"Machine {machine_id[:8]}... is {'draining' if no_block else 'drained'}. Undo with: argosy uncordon {machine}")


def _stays(unit: View, machine_id: str) -> bool:
    return any(place["machine"] == machine_id and not place.get("finished") for place in unit.get("places", []))
