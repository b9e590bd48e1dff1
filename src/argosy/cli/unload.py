"""argosy unload: take units off their machines."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.names import known
from argosy.cli.outcome import unloaded
from argosy.cli.session import asks, unit_arguments
from argosy.cli.telling import plain
from argosy.cli.waiting import bring, waits
from argosy.model import Target


@click.command()
@unit_arguments
@waits
@asks
def unload(client: Client, words: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop units and take them off their machines. The cluster still knows them: argosy start places them anew.

    Example: argosy unload hello
    """
    wishes = plain(known(words), target=Target.INACTIVE)
    sys.exit(
        bring(client, "unload", wishes, lambda unit, _, machines: unloaded(unit, machines), no_block=no_block, attempts=block_attempts)
    )
