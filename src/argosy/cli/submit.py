"""argosy submit: tell the cluster unit files."""

from __future__ import annotations

import click

from argosy.cli.client import Client
from argosy.cli.names import given
from argosy.cli.session import asks
from argosy.cli.waiting import wish
from argosy.errors import InvalidInput


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--replace", is_flag=True, help="Replace units that are known with another text.")
@asks
def submit(client: Client, files: tuple[str, ...], replace: bool) -> None:
    """Tell the cluster unit FILES, without placing them on a machine."""
    wanted = given(files)
    for unit in wanted:
        if unit.text is None:
            raise InvalidInput(f"no file for {unit.name} in this folder", remedy="name a file that exists")
    for name, written in wish(client, wanted, replace=replace).items():
        click.echo(f"Unit {name} {written.get('target', 'inactive')}")
