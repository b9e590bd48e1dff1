"""argosy restart: start units anew, where they are."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.names import known
from argosy.cli.outcome import started
from argosy.cli.session import asks, unit_arguments
from argosy.cli.telling import plain
from argosy.cli.waiting import bring, standing, waits


@click.command()
@unit_arguments
@waits
@asks
def restart(client: Client, words: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop units and start them again, where they are, and wait until they run. A unit that is only loaded is started.

    Example: argosy restart hello@1 hello@2
    """
    wishes = plain((unit["name"] for unit in standing(client, known(words), "restart")), restart=True)
    sys.exit(
        bring(
            client,
            "restart",
            wishes,
            lambda unit, written, machines: started(unit, written.get("launch", 0), machines),
            no_block=no_block,
            attempts=block_attempts,
        )
    )
