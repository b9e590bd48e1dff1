"""argosy version."""

from __future__ import annotations

import click

from argosy import __version__
from argosy.terminal import echo


@click.command()
def version() -> None:
    """Print the version of this program.

    Example: argosy version
    """
    echo(f"argosy version {__version__}")
