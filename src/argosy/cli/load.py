"""argosy load: place units without starting them."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.files import given, with_needed
from argosy.cli.outcome import loaded
from argosy.cli.session import asks, unit_arguments
from argosy.cli.waiting import bring, waits
from argosy.cli.wishes import wishes_for
from argosy.model import Target


@click.command()
@unit_arguments
@click.option("--replace", is_flag=True, help="Replace units that the cluster knows with another text.")
@waits
@asks
def load(client: Client, words: tuple[str, ...], replace: bool, no_block: bool, block_attempts: int) -> None:
    """Place units on machines and load them there, without starting them. UNIT is a name or a file, as for argosy start.

    Example: argosy load hello.service
    """
    wishes = wishes_for(client, "load", with_needed(given(words)), replace=replace, target=Target.LOADED)
    sys.exit(bring(client, "load", wishes, lambda unit, _, machines: loaded(unit, machines), no_block=no_block, attempts=block_attempts))
