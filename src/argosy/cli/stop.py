"""argosy stop: stop units where they are."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.names import known
from argosy.cli.outcome import stopped
from argosy.cli.session import asks, unit_arguments
from argosy.cli.telling import plain
from argosy.cli.waiting import bring, standing, waits
from argosy.model import Target


@click.command()
@unit_arguments
@waits
@asks
def stop(client: Client, words: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop units and wait until they have ended. They stay loaded on their machines, and argosy start starts them there again.

    Example: argosy stop hello
    """
    wishes = plain((unit.name for unit in standing(client, known(words), "stop")), target=Target.LOADED)
    sys.exit(bring(client, "stop", wishes, lambda unit, _, machines: stopped(unit, machines), no_block=no_block, attempts=block_attempts))
