"""argosy ssh: a shell on a machine, by ssh."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import click

from argosy.api.shapes import MachineView
from argosy.cli.client import Client
from argosy.cli.cluster import machines, units
from argosy.cli.completing import complete_machines
from argosy.cli.names import named
from argosy.cli.session import asks
from argosy.errors import InvalidInput, NotFound, Unsuitable

SHOWN = "argosy list-machines --fields machine,ip,name shows those that there are"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("target", required=False, shell_complete=complete_machines)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--machine", help="A machine: its name, its address, its id or the beginning of it.")
@click.option("--unit", help="Where this unit is.")
@click.option("--forward-agent", "-A", is_flag=True, help="Forward the ssh agent.")
@click.option("--user", default="", help="Log in as this user.")
@click.option("--ssh-port", default=22, show_default=True, type=click.IntRange(1, 65535), help="Where sshd listens there.")
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
    """Open a shell on TARGET, a machine or the machine of a unit, or run COMMAND there. Uses this host's ssh and its settings.

    Example: argosy ssh m2 uptime
    """
    if machine or unit:
        command = (target, *command) if target else command
        target = None
    address = _address(client, machine, unit, target)
    program = shutil.which("ssh")
    if program is None:
        raise Unsuitable("there is no ssh on this host", remedy="install openssh-client; in a lab use argosy lab exec")
    argv = ["ssh", "-p", str(ssh_port), *(["-A"] if forward_agent else []), "--", f"{user}@{address}" if user else address]
    os.execv(program, [*argv, *command])


def _address(client: Client, machine: str | None, unit: str | None, target: str | None) -> str:
    found = machines(client)
    if unit:
        return _of_unit(client, found, named(unit))
    word = machine or target
    if not word:
        raise InvalidInput("neither a machine nor a unit is named", remedy=SHOWN)
    matching = _called(found, word)
    if not matching and target:
        return _of_unit(client, found, named(target))
    if len(matching) != 1:
        raise NotFound(f"{len(matching) or 'no'} machines are called {word}", remedy=SHOWN)
    return matching[0].address


def _called(found: Mapping[str, MachineView], word: str) -> list[MachineView]:
    exact = [machine for machine in found.values() if word in (machine.id, machine.name, machine.address)]
    begun = word.partition("...")[0]
    return exact or [machine for machine in found.values() if begun and machine.id.startswith(begun)]


def _of_unit(client: Client, found: Mapping[str, MachineView], name: str) -> str:
    listed, _ = units(client, [name])
    if not listed:
        raise NotFound(f"there is neither a machine nor a unit {name}", remedy=SHOWN)
    wheres = [place.machine for place in listed[0].places]
    if not wheres:
        raise NotFound(f"unit {name} is on no machine", remedy=f"argosy why {name} tells why")
    if wheres[0] not in found:
        raise NotFound(f"the machine of {name} is lost", remedy="argosy list-units shows where units are")
    return found[wheres[0]].address
