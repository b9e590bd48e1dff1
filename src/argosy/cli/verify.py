"""argosy verify: everything wrong or notable about unit files."""

from __future__ import annotations

import sys

import click

from argosy.cli.checks import Found, in_file, runtimes
from argosy.cli.client import Client
from argosy.cli.session import asks, json_option
from argosy.errors import InvalidInput
from argosy.terminal import echo, echo_json
from argosy.unit.verify import RUNTIMES


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--runtime",
    type=click.Choice(["auto", "systemd", "supervisor", "all"]),
    default="auto",
    show_default=True,
    help="What will run the units. auto: what the cluster's machines have, or this host without a cluster.",
)
@json_option
@asks
def verify(client: Client, files: tuple[str, ...], runtime: str, as_json: bool) -> None:
    """Check unit files and the drop-ins beside them: errors, warnings, and every directive that the cluster's runtime would not honour,
    with line numbers. Exit status 1 if there is an error.

    Example: argosy verify hello.service
    """
    chosen = runtimes(client) if runtime == "auto" else RUNTIMES if runtime == "all" else {runtime}
    found: list[Found] = []
    good = []
    for path in files:
        try:
            problems = in_file(path, chosen)
        except InvalidInput as error:
            problems = [Found(path, 0, "error", str(error).removeprefix(f"{path} "))]
        found += problems
        if not problems:
            good.append(path)
    if as_json:
        echo_json([problem._asdict() for problem in found])
    else:
        for problem in found:
            where = f"{problem.file}:{problem.line}" if problem.line else problem.file
            echo(f"{where}: {problem.severity}: {problem.message}")
        for path in dict.fromkeys(good):
            echo(f"{path}: good")
    sys.exit(int(any(problem.severity == "error" for problem in found)))
