"""argosy cordon, uncordon, drain: what the operator orders about a machine."""

from __future__ import annotations

from collections.abc import Sequence

import click

from argosy.api.shapes import Ordered, Place, UnitView
from argosy.cli.client import Client
from argosy.cli.cluster import machine_path, units
from argosy.cli.progress import Progress
from argosy.cli.session import asks, json_option, machine_argument, show_json
from argosy.errors import ArgosyError
from argosy.terminal import echo

LONGEST_READ = 10.0


@click.command()
@machine_argument
@json_option
@asks
def cordon(client: Client, machine: str, as_json: bool) -> None:
    """Place nothing new on MACHINE: its id, the beginning of it, or its name. What is there stays.

    Example: argosy cordon m2
    """
    answer = client.request(Ordered, "POST", machine_path(machine, "cordon"), {})
    _tell(answer, as_json, f"is cordoned: nothing new is placed there. Undo with: argosy uncordon {machine}")


@click.command()
@machine_argument
@json_option
@asks
def uncordon(client: Client, machine: str, as_json: bool) -> None:
    """Let MACHINE take units again, after argosy cordon or drain. Nothing is moved back.

    Example: argosy uncordon m2
    """
    _tell(client.request(Ordered, "POST", machine_path(machine, "uncordon"), {}), as_json, "takes units again")


@click.command()
@machine_argument
@click.option("--no-block", is_flag=True, help="Do not wait until the machine is empty.")
@click.option(
    "--block-attempts",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    metavar="N",
    help="Wait N seconds at most (0: for ever).",
)
@json_option
@asks
def drain(client: Client, machine: str, no_block: bool, block_attempts: int, as_json: bool) -> None:
    """Move every unit off MACHINE, the new copy first, and wait until it is empty. Units that run on every machine stay. Undo it with
    argosy uncordon.

    Example: argosy drain m2
    """
    before, _ = units(client)
    answer = client.request(Ordered, "POST", machine_path(machine, "drain"), {})
    if not no_block:
        _wait_until_empty(client, machine, answer.machine, before, block_attempts, quiet=as_json)
    _tell(answer, as_json, f"is {'draining' if no_block else 'drained'}. Undo with: argosy uncordon {machine}")


def _wait_until_empty(client: Client, machine: str, machine_id: str, before: Sequence[UnitView], limit: int, *, quiet: bool) -> None:
    left = _on(before, machine_id)
    index = 0
    with Progress() as progress:
        while True:
            patience = 1.0 if progress.visible else LONGEST_READ
            rest = max(0.05, limit - progress.waited) if limit else patience
            found, index = units(client, (), index, min(patience, rest))
            here = _on(found, machine_id)
            for name in sorted(left - here):
                if not quiet:
                    progress.echo(f"Unit {name} moved away")
            left = here
            if not here:
                return
            if limit and progress.waited >= limit:
                raise ArgosyError(
                    f"still on {machine}: {', '.join(sorted(here))}", remedy=f"argosy why {min(here)} tells what is in the way"
                )
            progress.say(f"still on {machine}: {', '.join(sorted(here))}")


def _on(found: Sequence[UnitView], machine_id: str) -> set[str]:
    """The units that a drain moves away."""
    return {unit.name for unit in found if not unit.everywhere and any(_holds(place, machine_id) for place in unit.places)}


def _holds(place: Place, machine_id: str) -> bool:
    return place.machine == machine_id and not place.finished


def _tell(answer: Ordered, as_json: bool, what: str) -> None:
    if as_json:
        show_json(answer)
    else:
        echo(f"Machine {answer.machine[:8]}... {what}")
