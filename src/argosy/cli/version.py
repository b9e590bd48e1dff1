"""argosy version."""

from __future__ import annotations

import click

from argosy import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"argosy version {__version__}")
