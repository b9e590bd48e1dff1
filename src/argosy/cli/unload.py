"""argosy unload: take units off their machines."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.names import known
from argosy.cli.session import asks
from argosy.cli.waiting import bring, waits


@click.command()
@click.argument("units", nargs=-1, required=True)
@waits
@asks
def unload(client: Client, units: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop UNITS and take them off their machines; the cluster still knows them."""
    sys.exit(not bring(client, known(units), "inactive", no_block=no_block, attempts=block_attempts))
