"""What `argosy verify` finds in files here, for the runtimes that the cluster has; submit, load and start show its warnings."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from argosy.cli.client import Client
from argosy.cli.cluster import machines
from argosy.cli.files import Given, with_dropins
from argosy.errors import ArgosyError, InvalidUnit
from argosy.unit.dropins import Merged
from argosy.unit.parse import Severity
from argosy.unit.quadlet.names import unit_name
from argosy.unit.verify import RUNTIMES, verify

ANSWER_SECONDS = 2.0
MOST_SHOWN = 10
"""Warnings of one file that a verb shows which has other things to say."""
BOOTED = "/run/systemd/system"
"""Exists where systemd runs as PID 1 (sd_booted(3))."""


class Found(NamedTuple):
    """A problem with the file and the line that it stands in (0: the file as a whole), the drop-in's own where one is to blame."""

    file: str
    line: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


def runtimes(client: Client) -> Collection[str]:
    """Return the runtimes of the cluster's machines; where no agent answers, the one that an agent would use on this host."""
    try:
        found = {machine.runtime.removesuffix("-user") for machine in machines(client, ANSWER_SECONDS).values()}
    except ArgosyError:
        found = set()
    return found & RUNTIMES or {"systemd" if os.path.isdir(BOOTED) else "supervisor"}


def in_file(path: str, chosen: Collection[str]) -> list[Found]:
    """Return the problems of a file here and of the drop-ins beside it. Raises InvalidInput for one that cannot be read."""
    folder, slash, name = path.rpartition("/")
    try:
        merged = with_dropins(folder + slash, name, unit_name(name))
    except InvalidUnit as error:
        message = str(error).removeprefix(f"{path}: ")
        return [Found(path, 0, "error", message)]
    return _found(name, merged, chosen)


def warnings(given: Iterable[Given], chosen: Collection[str]) -> list[str]:
    """Return the warnings about files that a verb was given, each file once, as lines for the person."""
    found: list[str] = []
    for path, merged in {one.path: one.merged for one in given if one.file is not None}.items():
        told = [f"WARNING: {problem}" for problem in _found(path.rpartition("/")[2], merged, chosen) if problem.severity == "warning"]
        found += told[:MOST_SHOWN]
        if len(told) > MOST_SHOWN:
            found.append(f"WARNING: {path}: {len(told) - MOST_SHOWN} more; argosy verify {path} lists them")
    return found


def _found(name: str, merged: Merged, chosen: Collection[str]) -> list[Found]:
    found: Sequence[tuple[int, Severity, str]] = [(one.line, one.severity, one.message) for one in verify(name, merged.text, chosen)]
    return [Found(*merged.source(line), severity, message) for line, severity, message in found]
