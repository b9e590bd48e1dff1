"""The main command: finds the verb's file, and turns Argosy's errors into one line and an exit code."""

from __future__ import annotations

import importlib
import sys

import click

from argosy import __version__
from argosy.errors import ArgosyError

VERBS: dict[str, tuple[str, str, str]] = {
    # verb: (module below argosy.cli, the command's name in it, one line of help)
    "agent": ("agent", "agent", "Run this machine's agent."),
    "ca": ("ca", "ca", "Make the cluster's authority and the machines' certificates."),
    "lab": ("lab", "lab", "Run a cluster of machines on this host, to try things and to break them."),
}


class Verbs(click.Group):
    """Commands by name, loaded on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, name, _ = VERBS[cmd_name]
        command = getattr(importlib.import_module(f"argosy.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][2]) for verb in sorted(VERBS)])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="argosy")
def cli() -> None:
    """Argosy keeps units running somewhere on a handful of machines."""


def main() -> None:
    try:
        cli()
    except ArgosyError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
