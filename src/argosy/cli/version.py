"""argosy version."""

from __future__ import annotations

import click

from argosy import __version__


@click.command()
def version() -> None:
    """Print the version of this program.

    Example: argosy version
    """
    click.echo(f"argosy version {__version__}")
