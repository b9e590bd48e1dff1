"""argosy ssh: a shell on a machine, by ssh."""

from __future__ import annotations

import os
import shutil

import click

from argosy.cli.client import Client
from argosy.cli.names import known
from argosy.cli.outcome import View
from argosy.cli.session import asks
from argosy.cli.waiting import machines, units
from argosy.errors import InvalidInput, NotFound, Unsuitable


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--machine", help="A machine: its id, the beginning of it, its name or address.")
@click.option("--unit", help="Where this unit is.")
@click.option("--forward-agent", "-A", is_flag=True, help="Forward the ssh agent.")
@click.option("--user", default="", help="Log in as this user.")
@click.option("--ssh-port", default=22, show_default=True)
@asks
def ssh(
    client: Client,
    target: str | None,
    command: tuple[str, ...],
    machine: str | None,
    unit: str | None,
    forward_agent: bool,
    user: str,
    ssh_port: int,
) -> None:
    """Open a shell on TARGET, a machine or the machine of a unit, or run COMMAND there. Uses the host's ssh and its settings."""
    if machine or unit:
        command = (target, *command) if target else command
        target = None
    found = machines(client)
    address = _address(client, found, machine, unit, target)
    program = shutil.which("ssh")
    if program is None:
        raise Unsuitable("there is no ssh on this host", remedy="install openssh-client; in a lab use argosy lab exec")
    argv = ["ssh", "-p", str(ssh_port), *(["-A"] if forward_agent else []), "--", f"{user}@{address}" if user else address, *command]
    os.execv(program, argv)


def _address(client: Client, found: dict[str, View], machine: str | None, unit: str | None, target: str | None) -> str:
    if unit or (target and not machine and "." in target and not target.replace(".", "").isdigit()):
        return _of_unit(client, found, known([unit or target or ""])[0].name)
    word = machine or target
    if not word:
        raise InvalidInput("ssh: no machine and no unit given", remedy="argosy list-machines shows machines")
    matching = [m for m in found.values() if m["id"].startswith(word.rstrip(".")) or word in (m.get("name"), m.get("address"))]
    if len(matching) != 1:
        raise NotFound(f"{len(matching)} machines match {word!r}", remedy="argosy list-machines shows them; give more of the id")
    return str(matching[0].get("address", ""))


def _of_unit(client: Client, found: dict[str, View], name: str) -> str:
    listed, _ = units(client, [name])
    places = listed[0].get("places", []) if listed else []
    if not places:
        raise NotFound(f"unit {name} is on no machine", remedy=f"argosy why {name} tells why")
    machine = found.get(places[0]["machine"])
    if machine is None:
        raise NotFound(f"the machine of {name} is gone", remedy="argosy list-units")
    return str(machine.get("address", ""))
