"""Drop-ins beside a unit file: which folders count, and what the file says with them (systemd.unit(5), podman-systemd.unit(5)).

The cluster keeps one text for a unit, so the drop-ins that lie beside a submitted file become part of that text, each below a comment that
names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.names import template_of
from argosy.unit.parse import MAY_BE_EMPTY
from argosy.unit.quadlet.keys import SUFFIXES
from argosy.unit.quadlet.names import is_file_name, unit_name
from argosy.unit.text import unit_text


class Dropin(msgspec.Struct, frozen=True):
    """A drop-in file: its path as people may read it, and its text."""

    path: str
    text: str


class Merged(msgspec.Struct, frozen=True):
    """A text made of several files. `parts` are (first line, path), in order."""

    text: str
    parts: tuple[tuple[int, str], ...]

    def source(self, line: int) -> tuple[str, int]:
        """The file and the line in it that a line of the text (from 1; 0 for the file as a whole) comes from."""
        start, path = next((part for part in reversed(self.parts) if part[0] <= max(line, 1)), self.parts[0])
        return path, line - start + 1 if line else 0


def folders(file_name: str, unit: str) -> tuple[tuple[str, ...], ...]:
    """The drop-in folders of the unit `unit`, whose text comes from the file `file_name`: groups that are merged one after the other, in
    each the most specific folder first. Of two files of one name in a group the first counts."""
    found = [_folders(file_name, _instance(file_name, unit))] if is_file_name(file_name) else []
    return (*found, _folders(unit_name(file_name), unit))


def _instance(file_name: str, unit: str) -> str:
    """`web@1.container` of the file web@.container and the unit web@1.service."""
    stem, _, kind = file_name.rpartition(".")
    prefix, at, _ = stem.partition("@")
    return f"{prefix}@{unit.rpartition('.')[0].partition('@')[2]}.{kind}" if at else file_name


def _folders(file_name: str, unit: str) -> tuple[str, ...]:
    """Of foo-bar@1.service: foo-bar@1.service.d, foo-bar@.service.d, foo-.service.d, service.d."""
    stem, _, kind = file_name.rpartition(".")
    prefix = stem.partition("@")[0]
    names = [unit, template_of(unit) or file_name]
    while "-" in prefix[:-1]:
        prefix = f"{prefix.rstrip('-').rpartition('-')[0]}-"
        names.append(f"{prefix}.{kind}")
    return tuple(dict.fromkeys([*(f"{name}.d" for name in names), f"{kind}.d"]))


def chosen(files: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of (folder, file name) pairs of one group, in the order of `folders`: those that count, by file name."""
    found: dict[str, tuple[str, str]] = {}
    for folder, name in files:
        if name.endswith(".conf"):
            found.setdefault(name, (folder, name))
    return [found[name] for name in sorted(found)]


def merge(path: str, text: str, dropins: Sequence[Dropin]) -> Merged:
    """The text of the file `path` with its drop-ins. Raises InvalidUnit for a drop-in whose first assignment stands in no section:
    systemd ignores such lines, and here they would count to another file's section."""
    parts = [(1, path)]
    for dropin in dropins:
        read = unit_text(dropin.text).file
        if read.bare:
            line = read.options[0].line
            raise InvalidUnit(f"{dropin.path}: line {line}: an assignment before any section header", remedy="begin it with [Service]")
        lines = text.rstrip("\n").split("\n")
        if lines[-1].rstrip().endswith("\\"):
            lines.append("")  # a backslash at the end of the file before would join the next line to it
        begin = [*lines, f"# {dropin.path}"]
        parts.append((len(begin) + 1, dropin.path))
        text = "\n".join([*begin, dropin.text.removeprefix("\ufeff")])
    return Merged(text, tuple(parts))


def with_section(file_name: str, text: str) -> str:
    """The text of a .volume or .network file with its section, which Podman lets it leave out; any other text as it is."""
    section = SUFFIXES.get(file_name.rpartition(".")[2], "")
    if section not in MAY_BE_EMPTY or section in unit_text(text).file.headers:
        return text
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[{section}]\n"
