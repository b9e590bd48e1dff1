"""Specifiers: what `%i` and its kin stand for, in [X-Fleet] as fleet has it and everywhere else as systemd 252 has it."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.names import instance_of, is_name, prefix_of, shown, stem_of

_IN_NAMES = re.compile(r"%[nNpij%]")
_SPECIFIER = re.compile(r"%([A-Za-z0-9%])")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2}))?")


class NotHonoured(InvalidUnit):
    """systemd knows it; the supervisor does not have what it stands for."""


def expand_fleet(text: str, name: str) -> str:
    """What [X-Fleet] replaces: %n, %N, %p and %i, one after the other, and nothing else (`%%` stays as it is)."""
    if "%" not in text:
        return text
    text = text.replace("%n", name).replace("%N", stem_of(name))
    return text.replace("%p", prefix_of(name)).replace("%i", instance_of(name))


def expand_name(text: str, name: str) -> str:
    """systemd's specifiers in the name of another unit, as far as they come from this unit's own name: %n %N %p %i %j and %%."""
    if "%" not in text:
        return text
    prefix = prefix_of(name)
    meanings = {"%n": name, "%N": stem_of(name), "%p": prefix, "%i": instance_of(name), "%j": prefix.rpartition("-")[2], "%%": "%"}
    return _IN_NAMES.sub(lambda found: meanings[found[0]], text)


def unit_names(text: str, name: str) -> list[str]:
    """The units that BindsTo=, After= and their like name, in the unit called `name`: what is no unit name is left out, and the unit
    itself, as systemd does."""
    found = [expand_name(word.strip("\"'"), name) for word in text.split()]
    return [other for other in found if other != name and is_name(other)]


class Specifiers(msgspec.Struct, frozen=True):
    """What specifiers stand for on a machine, for one unit. Strings that are unknown there stay empty, as in systemd.

    `user` to `shell` are those of whoever runs the manager, not of User=. Folders have no trailing slash; the defaults are the system
    manager's. `fragment` is the path of the unit file.
    """

    name: str
    machine_id: str = ""
    boot_id: str = ""
    host: str = ""
    pretty_host: str = ""
    kernel: str = ""
    architecture: str = ""
    user: str = "root"
    uid: int = 0
    group: str = "root"
    gid: int = 0
    home: str = "/root"
    shell: str = "/bin/sh"
    runtime_directory: str = "/run"
    state_directory: str = "/var/lib"
    cache_directory: str = "/var/cache"
    logs_directory: str = "/var/log"
    configuration_directory: str = "/etc"
    temporary_directory: str = "/tmp"
    large_temporary_directory: str = "/var/tmp"
    os_id: str = ""
    os_version: str = ""
    os_build: str = ""
    os_variant: str = ""
    image_id: str = ""
    image_version: str = ""
    fragment: str = ""


_MEANINGS: dict[str, Callable[[Specifiers], str]] = {
    "%": lambda _: "%",
    "n": lambda given: given.name,
    "N": lambda given: stem_of(given.name),
    "p": lambda given: prefix_of(given.name),
    "P": lambda given: unescape(prefix_of(given.name)),
    "i": lambda given: instance_of(given.name),
    "I": lambda given: unescape(instance_of(given.name)),
    "j": lambda given: _last_component(given.name),
    "J": lambda given: _last_component_unescaped(given.name),
    "f": lambda given: _path(given.name),
    "y": lambda given: given.fragment,
    "Y": lambda given: given.fragment.rpartition("/")[0],
    "m": lambda given: given.machine_id,
    "b": lambda given: given.boot_id,
    "H": lambda given: given.host,
    "l": lambda given: given.host.partition(".")[0],
    "q": lambda given: given.pretty_host or given.host,
    "v": lambda given: given.kernel,
    "a": lambda given: given.architecture,
    "u": lambda given: given.user,
    "U": lambda given: str(given.uid),
    "g": lambda given: given.group,
    "G": lambda given: str(given.gid),
    "h": lambda given: given.home,
    "s": lambda given: given.shell,
    "t": lambda given: given.runtime_directory,
    "S": lambda given: given.state_directory,
    "C": lambda given: given.cache_directory,
    "L": lambda given: given.logs_directory,
    "E": lambda given: given.configuration_directory,
    "T": lambda given: given.temporary_directory,
    "V": lambda given: given.large_temporary_directory,
    "o": lambda given: given.os_id,
    "w": lambda given: given.os_version,
    "B": lambda given: given.os_build,
    "W": lambda given: given.os_variant,
    "M": lambda given: given.image_id,
    "A": lambda given: given.image_version,
}
_NOT_HONOURED = {"c": "control groups", "d": "credentials", "r": "control groups", "R": "control groups"}


def expand_systemd(text: str, context: Specifiers) -> str:
    """Every specifier replaced. A percent sign before anything but a letter, a digit or another one stands for itself.

    Raises InvalidUnit for an unknown specifier (systemd refuses such a unit too) and for names that cannot be unescaped, NotHonoured for
    what only systemd has.
    """
    return _SPECIFIER.sub(lambda found: _meaning(found[1], context), text) if "%" in text else text


def _meaning(letter: str, context: Specifiers) -> str:
    meaning = _MEANINGS.get(letter)
    if meaning is not None:
        return meaning(context)
    if letter in _NOT_HONOURED:
        raise NotHonoured(f"specifier %{letter} stands for {_NOT_HONOURED[letter]}, which the supervisor does not have")
    raise InvalidUnit(f"unknown specifier %{letter}", remedy=f"write %%{letter} for a percent sign and {letter!r}")


def unescape(escaped: str) -> str:
    """What systemd-escape --unescape gives: `-` is a slash, `\\xHH` a byte (those that are not UTF-8 become surrogate escapes)."""
    if "\\" not in escaped:
        return escaped.replace("-", "/")

    def byte(found: re.Match[str]) -> bytes:
        if not found[1] or found[1] == "00":
            raise InvalidUnit(f"{shown(escaped)} cannot be unescaped: a backslash begins a \\xHH of a byte that is not NUL")
        return bytes.fromhex(found[1])

    raw = b""
    at = 0
    for found in _ESCAPE.finditer(escaped):
        raw += escaped[at : found.start()].replace("-", "/").encode() + byte(found)
        at = found.end()
    return (raw + escaped[at:].replace("-", "/").encode()).decode(errors="surrogateescape")


def _last_component(name: str) -> str:
    return prefix_of(name).rpartition("-")[2]


def _last_component_unescaped(name: str) -> str:
    component = _last_component(name)
    if not component:
        raise InvalidUnit(f"specifier %J: the prefix of {name} ends in '-', so there is nothing after it")
    return unescape(component)


def _path(name: str) -> str:
    """The instance, or of a plain unit the prefix, as the absolute path that it escapes."""
    escaped = instance_of(name) or prefix_of(name)
    if escaped == "-":
        return "/"
    path = f"/{unescape(escaped)}"
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise InvalidUnit(f"specifier %f: {shown(escaped)} does not escape a plain path")
    return path
