"""argosy verify: everything wrong or notable about unit files."""

from __future__ import annotations

import sys
from typing import Any

import click

from argosy.cli.files import content
from argosy.cli.session import json_option
from argosy.errors import InvalidInput
from argosy.terminal import echo, echo_json
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
        echo_json(found)
    else:
        for problem in found:
            where = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
            echo(f"{where}: {problem['severity']}: {problem['message']}")
        for path in dict.fromkeys(files):
            if not any(problem["file"] == path for problem in found):
                echo(f"{path}: good")
    sys.exit(int(any(problem["severity"] == "error" for problem in found)))


def _problems(path: str) -> list[dict[str, Any]]:
    try:
        found = problems_of(path.rpartition("/")[2], content(path))
        problems = [(problem.line, problem.severity, problem.message) for problem in found]
    except InvalidInput as error:
        problems = [(0, "error", str(error).removeprefix(f"{path} "))]
    return [{"file": path, "line": line, "severity": severity, "message": message} for line, severity, message in problems]
