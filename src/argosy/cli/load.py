"""argosy load: place units without starting them."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.names import given
from argosy.cli.session import asks
from argosy.cli.waiting import bring, waits


@click.command()
@click.argument("units", nargs=-1, required=True)
@click.option("--replace", is_flag=True, help="Replace units that are known with another text.")
@waits
@asks
def load(client: Client, units: tuple[str, ...], replace: bool, no_block: bool, block_attempts: int) -> None:
    """Place UNITS (names or files) on machines, without starting them."""
    sys.exit(not bring(client, given(units), "loaded", replace=replace, no_block=no_block, attempts=block_attempts))
