"""The engine of a machine, and how a command line for it is written into a unit file."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.quadlet.keys import EngineKind

_SAFE = re.compile(r"[^\s\"'\\\x00-\x1f\x7f-\x9f\ud800-\udfff;]+|[^\s\"'\\\x00-\x1f\x7f-\x9f\ud800-\udfff]{2,}")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}

NAMES = {"docker": "Docker", "podman": "Podman"}


class Engine(msgspec.Struct, frozen=True):
    """`program` is its absolute path. `flags` are those that its `run` knows (empty: all are taken to be known), `volume_flags` and
    `network_flags` those of `volume create` and `network create`. `manager` is what runs the units. `unified`: there is cgroup v2 only."""

    kind: EngineKind
    program: str
    version: str = ""
    manager: Literal["systemd", "systemd-user", "supervisor"] = "supervisor"
    unified: bool = True
    flags: frozenset[str] = frozenset()
    volume_flags: frozenset[str] = frozenset()
    network_flags: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return f"{NAMES[self.kind]} {self.version}".rstrip()

    @property
    def notifies(self) -> bool:
        """Whether Podman detaches and tells systemd of the container: it is then in the unit's control group. Where there are none, and
        with Docker, the engine's client stays in the foreground."""
        return self.kind == "podman" and self.manager != "supervisor"


DOCKER = Engine("docker", "/usr/bin/docker")
PODMAN = Engine("podman", "/usr/bin/podman", manager="systemd")
"""What `verify` takes for granted, who knows no machine."""


def quoted(word: str) -> str:
    """The word in a command line of a unit file, as one word; `$` and `%` keep their meaning there (as in Quadlet)."""
    if _SAFE.fullmatch(word):
        return word
    return '"' + "".join(_escaped(character) for character in word) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 32 or code == 127:
        return f"\\x{code:02x}"
    return character


def command_line(words: list[str]) -> str:
    return " ".join(map(quoted, words))


def literal(text: str) -> str:
    """A text of ours in a command line: systemd replaces nothing in it."""
    return text.replace("%", "%%").replace("$", "$$")


def check_flag(flag: str, known: frozenset[str], engine: Engine, key: str) -> None:
    """Raises InvalidUnit if this engine does not know the flag."""
    bare = "--volume" if flag == "-v" else flag.partition("=")[0]
    if known and bare not in known:
        raise InvalidUnit(f"{key}= needs {bare}, which {engine.title} of this machine does not know", remedy=f"update {NAMES[engine.kind]}")
