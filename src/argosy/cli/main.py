"""The main command: finds the verb's file, and turns Argosy's errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import click
from click.shell_completion import CompletionItem

from argosy import __version__
from argosy.cli.failing import Failure, complain
from argosy.errors import ArgosyError, leaves
from argosy.terminal import content, echo_traceback, printable

VERBS: dict[str, tuple[str, str, str]] = {
    # verb: (module below argosy.cli, the command's name in it, one line of help)
    "agent": ("agent", "agent", "Run this machine's agent, in the foreground."),
    "announce": ("announce", "announce", "Keep an address registered while it answers."),
    "ca": ("ca", "ca", "Make the cluster's authority and certificates."),
    "cat": ("cat", "cat", "Print unit files as they were submitted."),
    "completion": ("completion", "completion", "Print the shell's completion script."),
    "cordon": ("orders", "cordon", "Place nothing new on a machine."),
    "destroy": ("destroy", "destroy", "Stop units and forget them."),
    "down": ("down", "down", "Stop what argosy up started, units and all."),
    "drain": ("orders", "drain", "Move everything off a machine."),
    "entry": ("entry", "entry", "Balance over all machines, in the foreground."),
    "images": ("images", "images", "List, show and remove images, collect garbage."),
    "journal": ("journal", "journal", "Print a unit's log."),
    "lab": ("lab", "lab", "Run a cluster on this host, to try and to break."),
    "list-machines": ("list_machines", "list_machines", "List the machines that are alive."),
    "list-unit-files": ("list_unit_files", "list_unit_files", "List what the cluster has been told."),
    "list-units": ("list_units", "list_units", "List where units are and what they do."),
    "load": ("load", "load", "Place units on machines without starting them."),
    "registry": ("registry", "registry", "Run an image registry, in the foreground."),
    "restart": ("restart", "restart", "Start units anew, where they are."),
    "rollout": ("rollouts", "rollout", "Show a rollout; pause, resume or end it."),
    "rollouts": ("rollouts", "rollouts", "List what is being rolled out."),
    "router": ("router", "router", "Run a router by itself, in a container or as a unit."),
    "routes": ("routes", "routes", "List what the machines' routers serve now."),
    "ssh": ("ssh", "ssh", "Open a shell on a machine, or where a unit is."),
    "start": ("start", "start", "Start units, and wait until they run."),
    "status": ("status", "status", "Show units as their machines see them."),
    "stop": ("stop", "stop", "Stop units, leaving them where they are."),
    "submit": ("submit", "submit", "Tell the cluster unit files, without placing them."),
    "uncordon": ("orders", "uncordon", "Let a machine take units again."),
    "unload": ("unload", "unload", "Take units off their machines."),
    "up": ("up", "up", "Start an agent on this machine, in the background."),
    "update": ("update", "update", "Give units another text, one after the other."),
    "verify": ("verify", "verify", "Check unit files."),
    "version": ("version", "version", "Print the version."),
    "why": ("why", "why", "Say why a unit is where it is, or nowhere."),
}

SECTIONS = {
    "Units": ("submit", "load", "start", "stop", "restart", "update", "rollout", "unload", "destroy"),
    "Looking": ("list-units", "list-unit-files", "status", "journal", "why", "cat", "verify", "routes", "rollouts"),
    "Machines": ("list-machines", "cordon", "drain", "uncordon", "ssh"),
    "Images": ("images", "registry"),
    "Running Argosy": ("up", "down", "lab", "agent", "router", "entry", "ca"),
    "And": ("announce", "completion", "version"),
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
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        if args[0] == "--help":
            content(ctx.get_help() + "\n")
            ctx.exit()
        if args[0] not in VERBS and not args[0].startswith("-"):
            close = importlib.import_module("difflib").get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, VERBS)) + 2
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width - 2), VERBS[verb][2]) for verb in verbs])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [CompletionItem(verb, help=VERBS[verb][2]) for verb in sorted(VERBS) if verb.startswith(incomplete)]
        return verbs or click.Command.shell_complete(self, ctx, incomplete)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with printable_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with printable_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def printable_errors() -> Iterator[None]:
    """What click prints itself quotes the words of the command line, and a glob may have put any file's name there."""
    try:
        yield
    except ArgosyError as error:
        raise Failure(error) from error
    except BaseExceptionGroup as group:
        errors = {str(leaf): leaf for leaf in leaves(group) if isinstance(leaf, ArgosyError)}
        if not errors or group.split(ArgosyError)[1] is not None:
            raise
        first, *others = errors.values()
        for other in others:
            complain(other)
        raise Failure(first) from group
    except click.ClickException as error:
        vars(error)["message"] = printable(f"{error.message}{_hint(error)}")
        raise


def _hint(error: click.ClickException) -> str:
    """Of an unexpected argument: the options of the command that take one value each time and may be written again."""
    params = error.ctx.command.params if isinstance(error, click.UsageError) and error.ctx else []
    repeated = [param.opts[0] for param in params if isinstance(param, click.Option) and param.multiple]
    if not repeated or "unexpected extra argument" not in error.message:
        return ""
    return f" An option takes one value: write it again for each further one ({', '.join(repeated)})."


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="argosy")
@click.option("--endpoint", metavar="URL", help="The agent to ask: unix:///path/argosy.sock or http://127.0.0.1:8700 (ARGOSY_ENDPOINT).")
def cli(endpoint: str | None) -> None:
    """Argosy keeps units running somewhere on a handful of machines.

    Begin with argosy up (this machine alone) or argosy lab up (a cluster to break). argosy help VERB explains a verb.
    """


def _show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    echo_traceback(importlib.import_module("traceback").format_exception(kind, error, trace))


def main() -> None:
    sys.excepthook = _show_defect
    cli(prog_name="argosy")
