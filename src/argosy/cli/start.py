"""argosy start: start units and wait until they run."""

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
def start(client: Client, units: tuple[str, ...], replace: bool, no_block: bool, block_attempts: int) -> None:
    """Start UNITS (names or files), wait until they run, and say where; or why they cannot.

    An instance such as hello@1 takes its text from hello@.service, here or in the cluster.
    """
    sys.exit(not bring(client, given(units), "launched", replace=replace, no_block=no_block, attempts=block_attempts))
