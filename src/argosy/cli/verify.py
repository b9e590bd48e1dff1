"""argosy verify: everything wrong or notable about unit files."""

from __future__ import annotations

import sys

import click

from argosy.cli.session import json_option
from argosy.cli.table import show_json
from argosy.errors import InvalidInput, InvalidUnit
from argosy.unit.names import normalize
from argosy.unit.verify import verify as problems_of


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@json_option
def verify(files: tuple[str, ...], as_json: bool) -> None:
    """Check unit FILES: errors, warnings, and every directive that the embedded supervisor would not honour, with line numbers."""
    found = []
    for path in files:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
        try:
            problems = [
                (problem.line, problem.severity, problem.message) for problem in problems_of(normalize(path.rpartition("/")[2]), data)
            ]
        except InvalidUnit as error:
            problems = [(0, "error", str(error))]
        found += [{"file": path, "line": line, "severity": severity, "message": message} for line, severity, message in problems]
        if not problems and not as_json:
            click.echo(f"{path}: good")
    if as_json:
        show_json(found)
    else:
        for problem in found:
            where = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
            click.echo(f"{where}: {problem['severity']}: {problem['message']}")
    sys.exit(any(problem["severity"] == "error" for problem in found))
