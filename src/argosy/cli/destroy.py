"""argosy destroy: stop units and forget them."""

from __future__ import annotations

import sys

import click

from argosy.api.shapes import Deleted
from argosy.cli.client import Client
from argosy.cli.cluster import unit_path
from argosy.cli.failing import complain
from argosy.cli.names import known
from argosy.cli.session import asks, unit_arguments
from argosy.errors import NotFound
from argosy.terminal import echo


@click.command()
@unit_arguments
@click.option("--no-block", is_flag=True, hidden=True)
@click.option("--block-attempts", type=int, default=0, hidden=True)
@asks
def destroy(client: Client, words: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop units, take them off their machines and forget them. Does not wait until their machines have stopped them.

    Example: argosy destroy hello
    """
    missing = False
    for name in known(words):
        try:
            client.request(Deleted, "DELETE", unit_path(name))
        except NotFound as error:
            missing = True
            complain(error)
            continue
        echo(f"Destroyed {name}")
    sys.exit(int(missing))
