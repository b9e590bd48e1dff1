"""Unit files as people name them: the units that are meant, and the files here that their texts come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from argosy.cli.names import named
from argosy.errors import InvalidInput, InvalidUnit
from argosy.unit.dropins import Dropin, Merged, chosen, folders, merge, with_section
from argosy.unit.names import template_of
from argosy.unit.parse import UnitFile, readable
from argosy.unit.quadlet.names import NOT_KNOWN, file_names, foreign_kind, is_file_name, referred, unit_name
from argosy.unit.quadlet.reading import references
from argosy.unit.text import unit_text

MOST_READ = 16 * 1024 * 1024


class Given(NamedTuple):
    """A unit that was named, and its file here, drop-ins included; None when there is none. `template`: the file is its template's.
    `merged` says which file each line comes from."""

    name: str
    file: UnitFile | None = None
    path: str = ""
    template: str = ""
    merged: Merged = Merged("", ())


def given(words: Sequence[str]) -> list[Given]:
    """What the words of a command name, in order, each once. Raises InvalidUnit for bad names and files, InvalidInput for files that
    cannot be read."""
    found: dict[str, Given] = {}
    for word in words:
        folder, slash, last = word.rpartition("/")
        name = named(word)
        unit = _found(folder + slash, name, last)
        if unit is None and foreign_kind(word):
            raise InvalidUnit(NOT_KNOWN.format(foreign_kind(word)), remedy=f"argosy verify {word}")
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
            needed = referred(reference, given.name)
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
            merged = with_dropins(folder, candidate, name)
            return Given(name, _read(path, merged), path, unit if unit != name else "", merged)
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


def with_dropins(folder: str, file_name: str, unit: str) -> Merged:
    """The text that the unit `unit` has by the file `file_name` in this folder ("" or ending in "/") and the drop-ins beside it. Raises
    InvalidUnit for what is no text, InvalidInput for what cannot be read."""
    path = folder + file_name
    text = with_section(file_name, _text(path))
    found = []
    for group in folders(file_name, unit):
        there = [(name, entry) for name in group if os.path.isdir(folder + name) for entry in _entries(folder + name)]
        found += [Dropin(f"{name}/{entry}", _text(f"{folder}{name}/{entry}")) for name, entry in chosen(there)]
    return merge(path, text, found)


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}", remedy="its drop-ins belong to the unit") from error


def _text(path: str) -> str:
    try:
        return readable(content(path))
    except InvalidUnit as error:
        raise InvalidUnit(f"{path}: {error.message}", remedy=error.remedy) from error


def _read(path: str, merged: Merged) -> UnitFile:
    known = unit_text(merged.text)
    if known.unreadable is not None:
        raise InvalidUnit(f"{path} with its drop-ins: {known.unreadable.message}", remedy=known.unreadable.remedy)
    return known.file
