"""Unit files as people name them: the units that are meant, and the files here that their texts come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from argosy.cli.names import named
from argosy.errors import InvalidInput, InvalidUnit
from argosy.unit.names import template_of
from argosy.unit.parse import UnitFile, parse
from argosy.unit.quadlet.names import file_names, is_file_name, unit_name
from argosy.unit.quadlet.reading import references

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
        folder, slash, last = word.rpartition("/")
        name = named(word)
        unit = _found(folder + slash, name, last)
        if unit is None and os.path.isfile(word):
            raise InvalidUnit(
                f"{word} is not named as a unit file", remedy="the names of unit files end in .service, .container, .timer, .socket, ..."
            )
        if unit is None and slash:
            raise InvalidInput(f"no file {word}", remedy=f"name a unit file, or the unit alone: {name}")
        found[name] = unit or Given(name)
    return list(found.values())


def with_needed(wanted: Sequence[Given]) -> list[Given]:
    """The same, and before each container the volumes and networks that its file refers to, from the files beside it. Those without a file
    the cluster may know."""
    found: dict[str, Given] = {}
    there = {given.name: given for given in wanted}
    for given in wanted:
        for reference in references(given.file) if given.file else ():
            needed = unit_name(reference)
            if needed not in found:
                folder, slash, _ = given.path.rpartition("/")
                found[needed] = there.get(needed) or _found(folder + slash, needed, reference) or Given(needed)
        found.setdefault(given.name, given)
    return list(found.values())


def _found(folder: str, name: str, word: str) -> Given | None:
    for candidate in _candidates(name, word):
        path = folder + candidate
        if os.path.isfile(path):
            unit = unit_name(candidate)
            return Given(name, _read(path), path, unit if unit != name else "")
    return None


def _candidates(name: str, word: str) -> list[str]:
    """Files that the unit's text may come from: its own, then its template's. A Quadlet file is looked for after a unit file, and alone if
    it is named."""
    if is_file_name(word):
        return [candidate for candidate in (word, template_of(word)) if candidate]
    units = [unit for unit in (name, template_of(name)) if unit]
    return [*units, *(file for unit in units for file in file_names(unit))]


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
