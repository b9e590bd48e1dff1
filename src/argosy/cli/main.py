"""The main command: finds the verb's file, and turns Argosy's errors into one line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import sys

import click

from argosy import __version__
from argosy.errors import ArgosyError

VERBS: dict[str, tuple[str, str, str]] = {
    # verb: (module below argosy.cli, the command's name in it, one line of help)
    "agent": ("agent", "agent", "Run this machine's agent."),
    "announce": ("announce", "announce", "Register an address under a key for as long as it answers."),
    "ca": ("ca", "ca", "Make the cluster's authority and the machines' certificates."),
    "cat": ("cat", "cat", "Print a unit file as it was submitted."),
    "completion": ("completion", "completion", "Print the shell's completion script."),
    "cordon": ("orders", "cordon", "Place nothing new on a machine."),
    "destroy": ("destroy", "destroy", "Stop units and forget them."),
    "down": ("down", "down", "Stop what argosy up started, units and all."),
    "drain": ("orders", "drain", "Move everything off a machine."),
    "journal": ("journal", "journal", "Print a unit's log, from whichever machine it is on."),
    "lab": ("lab", "lab", "Run a cluster of machines on this host, to try things and to break them."),
    "list-machines": ("list_machines", "list_machines", "List the machines that are alive."),
    "list-unit-files": ("list_unit_files", "list_unit_files", "List what the cluster has been told."),
    "list-units": ("list_units", "list_units", "List units: where they are and what they do."),
    "load": ("load", "load", "Place units on machines without starting them."),
    "restart": ("restart", "restart", "Start units anew, where they are."),
    "routes": ("routes", "routes", "List what each machine's router serves now."),
    "ssh": ("ssh", "ssh", "Open a shell on a machine, or where a unit is."),
    "start": ("start", "start", "Start units, and wait until they run."),
    "status": ("status", "status", "Show a unit as its machine sees it, with its last log lines."),
    "stop": ("stop", "stop", "Stop units, leaving them where they are."),
    "submit": ("submit", "submit", "Tell the cluster unit files, without placing them."),
    "uncordon": ("orders", "uncordon", "Let a machine take units again."),
    "unload": ("unload", "unload", "Take units off their machines."),
    "up": ("up", "up", "Start an agent on this machine, in the background."),
    "verify": ("verify", "verify", "Check a unit file."),
    "version": ("version", "version", "Print the version."),
    "why": ("why", "why", "Say why a unit is where it is, or nowhere."),
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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][2]) for verb in sorted(VERBS)])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="argosy")
@click.option("--endpoint", metavar="URL", help="The agent to ask: unix:///path/argosy.sock or http://127.0.0.1:8700 (ARGOSY_ENDPOINT).")
def cli(endpoint: str | None) -> None:
    """Argosy keeps units running somewhere on a handful of machines."""


def main() -> None:
    try:
        cli()
    except ArgosyError as error:
        click.echo(f"Error: {error.message}", err=True)
        if error.remedy:
            click.echo(f"  {error.remedy}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
