"""argosy restart: start units anew, where they are; at once or one after the other."""

from __future__ import annotations

import shlex
import sys

import click

from argosy.cli.client import Client
from argosy.cli.cluster import units
from argosy.cli.following import roll
from argosy.cli.names import GLOB, expanded, known
from argosy.cli.outcome import started
from argosy.cli.pace import everything, pace_options
from argosy.cli.rollout_order import restarts
from argosy.cli.session import asks, json_option, unit_arguments
from argosy.cli.telling import plain
from argosy.cli.waiting import bring, standing, waits


@click.command()
@unit_arguments
@click.option("--rolling", is_flag=True, help="One after the other: the next only when the last is healthy again.")
@pace_options
@waits
@json_option
@asks
def restart(
    client: Client,
    words: tuple[str, ...],
    rolling: bool,
    parallel: int,
    timeout: float,
    steady: float,
    start_first: bool,
    no_block: bool,
    block_attempts: int,
    as_json: bool,
) -> None:
    """Stop units and start them again, where they are, and wait until they run. A unit that is only loaded is started. A glob stands for
    all running units that it matches.

    With --rolling (and --parallel, --timeout, --steady, --start-first, --json) no more than one is down at a time, with all that is bound
    to it and its routes, and it stops at the first that fails. So a new image behind an old name comes in without a gap.

    Example: argosy restart --rolling 'hello@*'
    """
    if rolling:
        everyone = everything(client)
        running = [name for name, unit in everyone.items() if unit.target == "launched"]
        wanted = restarts(known(expanded(words, running)), everyone)
        again = f"See what is wrong, and run argosy restart --rolling {shlex.join(words)} again."
        rules = {"parallel": parallel, "timeout": timeout, "steady": steady, "start_first": start_first}
        sys.exit(roll(client, wanted, rules, again, as_json=as_json, no_block=no_block))
    if as_json:
        raise click.UsageError("--json is told of --rolling only")
    if any(not GLOB.isdisjoint(word) for word in words):
        words = tuple(expanded(words, [unit.name for unit in units(client)[0] if unit.target != "inactive"]))
    wishes = plain((unit.name for unit in standing(client, known(words), "restart")), restart=True)
    sys.exit(
        bring(
            client,
            "restart",
            wishes,
            lambda unit, written, machines: started(unit, written.launch, machines),
            no_block=no_block,
            attempts=block_attempts,
        )
    )
