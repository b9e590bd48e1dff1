"""Unit files as people name them: the units that are meant, and the files here that their texts come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from argosy.cli.names import named
from argosy.errors import InvalidInput, InvalidUnit
from argosy.unit.names import template_of
from argosy.unit.parse import UnitFile, parse

MOST_READ = 16 * 1024 * 1024


class Given(NamedTuple):
    """A unit that was named, and its file here; None when there is none. `template`: the file is its template's."""

    name: str
    file: UnitFile | None = None
    path: str = ""
    template: str = ""


def given(words: Sequence[str]) -> list[Given]:
    """What the words of a command name, in order, each once. Raises InvalidUnit for bad names and files, InvalidInput for files that
    cannot be read."""
    found: dict[str, Given] = {}
    for word in words:
        folder, slash, _ = word.rpartition("/")
        name = named(word)
        unit = _found(folder + slash, name)
        if unit is None and os.path.isfile(word):
            raise InvalidUnit(f"{word} is not named as a unit file", remedy="the names of unit files end in .service, .timer, .socket, ...")
        if unit is None and slash:
            raise InvalidInput(f"no file {word}", remedy=f"name a unit file, or the unit alone: {name}")
        found[name] = unit or Given(name)
    return list(found.values())


def _found(folder: str, name: str) -> Given | None:
    template = template_of(name)
    for candidate in filter(None, (name, template)):
        path = folder + candidate
        if os.path.isfile(path):
            return Given(name, _read(path), path, candidate if candidate != name else "")
    return None


def content(path: str) -> bytes:
    """A file's bytes, or as many of them as show that it is too large to be a unit file. Raises InvalidInput."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST_READ)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def _read(path: str) -> UnitFile:
    try:
        return parse(content(path))
    except InvalidUnit as error:
        raise InvalidUnit(f"{path}: {error.message}", remedy=error.remedy) from error
