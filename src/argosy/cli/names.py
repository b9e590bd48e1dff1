"""Unit names and files as people give them: `hello`, `hello@1`, `./units/hello@1.service`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from argosy.errors import InvalidInput, InvalidUnit
from argosy.unit.names import check_name, normalize, template_of
from argosy.unit.parse import LARGEST_FILE, parse


class Given(msgspec.Struct, frozen=True):
    """A unit that was named. `text` is its file's, or its template's file's; None when there is no such file here (`path` is which)."""

    name: str
    text: str | None = None
    path: str = ""


def given(words: Sequence[str]) -> list[Given]:
    """What the words of a command name, in order, each once. Raises InvalidUnit for bad names and unreadable files."""
    found: dict[str, Given] = {}
    for word in words:
        folder, _, last = word.rpartition("/")
        name = normalize(last)
        check_name(name)
        path = _file(folder, name)
        if path is None and folder:
            raise InvalidInput(f"no file {word}", remedy=f"name a unit file, or the unit alone: {name}")
        found[name] = Given(name, _read(path), path) if path else Given(name)
    return list(found.values())


def _file(folder: str, name: str) -> str | None:
    for candidate in filter(None, (name, template_of(name))):
        path = os.path.join(folder, candidate)
        if os.path.isfile(path):
            return path
    return None


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    try:
        return parse(data).text
    except InvalidUnit as error:
        raise InvalidUnit(f"{path}: {error.message}", remedy=error.remedy) from error


def known(words: Sequence[str]) -> list[Given]:
    """Units that the cluster should know already: only their names matter, also where a path of a file was given."""
    names = [normalize(word.rpartition("/")[2]) for word in words]
    for name in names:
        check_name(name)
    return [Given(name) for name in dict.fromkeys(names)]
