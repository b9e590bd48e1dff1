"""argosy verify: everything wrong or notable about unit files."""

from __future__ import annotations

import sys
from typing import Any

import click

from argosy.cli.session import json_option
from argosy.cli.table import show_json
from argosy.errors import InvalidUnit
from argosy.unit.names import normalize
from argosy.unit.parse import LARGEST_FILE
from argosy.unit.verify import verify as problems_of


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@json_option
def verify(files: tuple[str, ...], as_json: bool) -> None:
    """Check unit files: errors, warnings, and every directive that the embedded supervisor would not honour, with line numbers. Asks no
    agent. Exit status 1 if there is an error.

    Example: argosy verify hello.service
    """
    found = [problem for path in files for problem in _problems(path)]
    if as_json:
        show_json(found)
    else:
        for problem in found:
            where = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
            click.echo(f"{where}: {problem['severity']}: {problem['message']}")
        for path in dict.fromkeys(files):
            if not any(problem["file"] == path for problem in found):
                click.echo(f"{path}: good")
    sys.exit(any(problem["severity"] == "error" for problem in found))


def _problems(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
        problems = [(problem.line, problem.severity, problem.message) for problem in problems_of(normalize(path.rpartition("/")[2]), data)]
    except OSError as error:
        problems = [(0, "error", f"cannot be read: {error.strerror}")]
    except InvalidUnit as error:
        problems = [(0, "error", str(error))]
    return [{"file": path, "line": line, "severity": severity, "message": message} for line, severity, message in problems]
