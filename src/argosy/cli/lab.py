"""argosy lab: a cluster of machines on this host, to try things and to break them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

import click

from argosy.cli.session import json_option
from argosy.cli.table import show, size
from argosy.config import parse_metadata
from argosy.errors import InvalidInput
from argosy.lab.lab import Lab, Status
from argosy.lab.state import LabRecord, MachineRecord
from argosy.terminal import echo, echo_json

T = TypeVar("T")

name_option = click.option(
    "--name", default="lab", envvar="ARGOSY_LAB", show_default=True, help="Which lab (ARGOSY_LAB); several fit on a host."
)


@click.group()
def lab() -> None:
    """Run a cluster of machines on this host, to try things and to break them.

    Machines are named m1, m2, ... As root on a host that can, they are full ones: their own systemd, Docker and network, and an etcd
    across the first three. Anywhere else they are groups of processes on loopback addresses. argosy lab VERB --help explains a verb.

    Example: argosy lab up, argosy list-machines, argosy lab down
    """


@lab.command(short_help="Bring a lab up.")
@click.option("--machines", type=int, default=3, show_default=True, help="How many.")
@click.option("--metadata", "metadata", multiple=True, metavar="M=K=V,...", help="A machine's metadata, such as m1=role=web,region=eu.")
@click.option("--light", is_flag=True, help="Process machines, even where full ones are possible.")
@click.option("--entry", metavar="HOST:PORT", help="Where the entry listens; none for no entry.  [default: first free from 127.0.0.1:8080]")
@click.option("--entry-tls", default="", metavar="HOST:PORT", help="Where it takes TLS, for routers with certificates.")
@click.option(
    "--ttl", type=click.FloatRange(1, 3600), default=5.0, show_default=True, help="Seconds until a silent machine counts as lost."
)
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.FIELD=VALUE", help="A setting of every agent, such as router.enabled=no."
)
@click.option("--bind", "binds", multiple=True, metavar="HOST:INSIDE", help="A folder of this host's that every full machine has.")
@name_option
@json_option
def up(
    machines: int,
    metadata: tuple[str, ...],
    light: bool,
    entry: str | None,
    entry_tls: str,
    ttl: float,
    settings: tuple[str, ...],
    binds: tuple[str, ...],
    name: str,
    as_json: bool,
) -> None:
    """Bring a lab up, and wait until it is ready: every machine answers and sees the others.

    Example: argosy lab up --machines 5 --metadata m1=role=web,region=eu
    """
    started = time.monotonic()
    chosen = _by_machine(metadata)
    one = _lab(name)
    wanted = {field: value for field, _, value in (setting.partition("=") for setting in settings)}
    where = "" if entry == "none" else entry
    record = _run(one.up(machines, chosen, light=light, entry=where, entry_tls=entry_tls, ttl=ttl, settings=wanted, binds=binds))
    if as_json:
        echo_json({**_about(record), "machines": [_plain(machine) for machine in record.machines]})
        return
    echo(f"lab {name} is up: {len(record.machines)} machines in {time.monotonic() - started:.1f} s")
    show([(machine.name, machine.address, _metadata(machine)) for machine in record.machines], ("machine", "address", "metadata"))
    option, variable = ("", "") if name == "lab" else (f" --name {name}", f"ARGOSY_LAB={name} ")
    echo(f"look around: {variable}argosy list-machines, argosy lab ps{option}, argosy lab exec{option} m1 -- ps ax")
    echo(f"remove it: argosy lab down{option}")


@lab.command(short_help="Add a machine.")
@click.option("--metadata", default="", metavar="K=V,...", help="Its metadata.")
@name_option
@json_option
def add(metadata: str, name: str, as_json: bool) -> None:
    """Add a machine, and wait until it is ready.

    Example: argosy lab add --metadata role=db
    """
    machine = _run(_lab(name).add(parse_metadata(metadata, "--metadata")))
    if as_json:
        echo_json(_plain(machine))
    else:
        echo(f"{machine.name} has joined at {machine.address}")


@lab.command(short_help="Cut the power of machines.")
@click.argument("machines", nargs=-1, required=True)
@name_option
def kill(machines: tuple[str, ...], name: str) -> None:
    """Cut the power of MACHINES: everything on them is gone at once.

    Example: argosy lab kill m2
    """
    _each(machines, _lab(name).kill, "has lost its power")


@lab.command(short_help="Power machines on again.")
@click.argument("machines", nargs=-1, required=True)
@name_option
def start(machines: tuple[str, ...], name: str) -> None:
    """Power MACHINES on again and wait until they are ready. They have the disks they had.

    Example: argosy lab start m2
    """
    one = _lab(name)
    _each(machines, one.start, "boots")
    _run(one.wait_ready())


@lab.command(short_help="Make machines stand still.")
@click.argument("machines", nargs=-1, required=True)
@name_option
def pause(machines: tuple[str, ...], name: str) -> None:
    """Make everything on MACHINES stand still, as a machine that hangs.

    Example: argosy lab pause m2
    """
    _each(machines, _lab(name).pause, "stands still")


@lab.command(short_help="Let paused machines go on.")
@click.argument("machines", nargs=-1, required=True)
@name_option
def resume(machines: tuple[str, ...], name: str) -> None:
    """Let paused MACHINES go on.

    Example: argosy lab resume m2
    """
    _each(machines, _lab(name).resume, "goes on")


@lab.command(short_help="Cut the network between machines.")
@click.argument("sides", nargs=-1, required=True)
@name_option
@json_option
def partition(sides: tuple[str, ...], name: str, as_json: bool) -> None:
    """Cut the network between SIDES. They are separated by slashes; machines that are not named stay together.

    Example: argosy lab partition m1 / m2,m3
    """
    found = _run(_lab(name).partition(_groups(sides)))
    if as_json:
        echo_json([list(side) for side in found])
    else:
        echo(f"cut: {' / '.join(','.join(side) for side in found)}; whole again with argosy lab heal")


@lab.command(short_help="Make the network whole again.")
@name_option
def heal(name: str) -> None:
    """Make the network whole again, after argosy lab partition.

    Example: argosy lab heal
    """
    _run(_lab(name).heal())
    echo("the network is whole")


@lab.command(
    "exec",
    short_help="Run a command inside a machine.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@name_option
@click.argument("machine")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(machine: str, command: tuple[str, ...], name: str) -> NoReturn:
    """Run COMMAND inside MACHINE, as root there.

    Example: argosy lab exec m1 -- ps ax
    """
    inside = _run(_lab(name).command(machine, command[1:] if command[0] == "--" else command))
    os.chdir(inside.folder)
    try:
        os.execvpe(inside.argv[0], inside.argv, inside.environ)
    except OSError as error:
        raise InvalidInput(f"cannot run {inside.argv[0]}: {error.strerror}") from error


@lab.command(short_help="List the machines and what they are doing.")
@name_option
@json_option
def ps(name: str, as_json: bool) -> None:
    """List the machines: whether they are on, where, and what runs on them.

    Example: argosy lab ps
    """
    one = _lab(name)
    found = _run(one.ps())
    if as_json:
        machines = [{**_plain(status.machine), "power": status.power.value, **_figures(status)} for status in found]
        echo_json({**_about(_run(one.record())), "machines": machines})
        return
    rows = [
        (
            status.machine.name,
            status.power.value + (f", side {status.side}" if status.side else ""),
            status.machine.address,
            f"{status.machine.id[:8]}...",
            _metadata(status.machine),
            str(status.processes),
            size(status.memory),
        )
        for status in found
    ]
    show(rows, ("machine", "power", "address", "id", "metadata", "processes", "memory"))


@lab.command(short_help="Remove a lab and every trace of it.")
@name_option
def down(name: str) -> None:
    """Remove a lab and every trace of it: machines, networks, files.

    Example: argosy lab down
    """
    there = _run(_lab(name).down())
    echo(f"lab {name} is gone" if there else f"there was no lab {name}")


def _lab(name: str) -> Lab:
    started = time.monotonic()
    return Lab(name, say=lambda text: echo(f"[{time.monotonic() - started:4.1f} s] {text}", err=True))


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _each(machines: Sequence[str], work: Callable[[str], Coroutine[Any, Any, None]], what: str) -> None:
    async def all_of_them() -> None:
        for machine in machines:
            await work(machine)
            echo(f"{machine} {what}")

    asyncio.run(all_of_them())


def _by_machine(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        machine, _, pairs = text.partition("=")
        found.setdefault(machine.strip(), {}).update(parse_metadata(pairs, f"--metadata {text}"))
    return found


def _groups(words: Sequence[str]) -> list[list[str]]:
    """`m1 / m2,m3` in any spacing: sides are separated by slashes, machines by commas or blanks."""
    sides = " ".join(words).split("/")
    return [[machine for machine in side.replace(",", " ").split() if machine] for side in sides]


def _metadata(machine: MachineRecord) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(machine.metadata.items()))


def _about(record: LabRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "kind": record.kind,
        "entry": record.entry,
        "entry_tls": record.entry_tls,
        "groups": [list(group) for group in record.groups],
    }


def _plain(machine: MachineRecord) -> dict[str, Any]:
    return {"name": machine.name, "id": machine.id, "address": machine.address, "router": machine.router, "metadata": machine.metadata}


def _figures(status: Status) -> dict[str, Any]:
    return {"side": status.side, "processes": status.processes, "memory": status.memory}
