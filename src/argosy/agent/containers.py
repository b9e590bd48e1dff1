"""The container engine of this machine, looked up when a Quadlet file is loaded: its program, its version and the flags that it knows."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from argosy import programs
from argosy.errors import InvalidUnit, RuntimeFailed
from argosy.unit.quadlet.engine import Engine
from argosy.unit.quadlet.keys import EngineKind
from argosy.unit.quadlet.service import translate
from argosy.unit.text import unit_text

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
SCRIPT = 4096
"""A program that is no longer than this is a script."""
_FLAG = re.compile(r"(?:^|[\s,])(--[a-z][a-z0-9-]*)")
_VERSION = re.compile(r"\d+(?:\.\d+)+")

Ask = Callable[[Sequence[str]], Awaitable[str]]
Units = Sequence[tuple[str, str]]


class Containers:
    """`choice`: docker, podman, or auto (Docker where there is its program, else Podman). `manager` is the runtime's kind. `path`: where
    programs are looked for (None: PATH). `ask` runs a program and gives its output."""

    def __init__(self, choice: str, manager: str, *, path: str | None = None, ask: Ask | None = None) -> None:
        self._choice = choice
        self._manager = manager
        self._path = path
        self._ask = ask or _output
        self._known: dict[tuple[str, float], Engine] = {}

    async def services(self, units: Units, others: Mapping[str, str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """The units with the texts that the runtime shall load, and which cannot be run here, and why. `others` are the texts of all units
        that are placed on this machine: what a Quadlet file refers to is looked up there."""
        found: list[tuple[str, str]] = []
        refused: dict[str, str] = {}
        for name, text in units:
            if not unit_text(text).kind:
                found.append((name, text))
                continue
            try:
                found.append((name, await self._service(name, text, others)))
            except InvalidUnit as error:
                refused[name] = str(error)
            except RuntimeFailed as error:
                refused[name] = f"{name}: {error}"
        return found, refused

    async def _service(self, name: str, text: str, others: Mapping[str, str]) -> str:
        engine = await self.engine()
        return await asyncio.to_thread(translate, name, text, engine, others, os.path.exists)

    async def engine(self) -> Engine:
        """Raises RuntimeFailed where there is none."""
        kind, program = await asyncio.to_thread(find, self._choice, self._path)
        try:
            changed = (await asyncio.to_thread(os.stat, program)).st_mtime
        except OSError as error:
            raise RuntimeFailed(f"{program}: {error.strerror}") from error
        known = self._known.get((program, changed))
        if known is None:
            known = self._known[program, changed] = await self._examine(kind, program)
            log.info("containers of Quadlet files are run by %s (%s)", known.title, program)
        return known

    async def _examine(self, kind: EngineKind, program: str) -> Engine:
        """Programs that do not answer are taken to know every flag."""
        questions = (("--version",), ("run", "--help"), ("volume", "create", "--help"), ("network", "create", "--help"))
        version, run, volume, network = await asyncio.gather(*(self._ask((program, *question)) for question in questions))
        numbers = _VERSION.search(version)
        return Engine(
            kind=kind,
            program=program,
            version=numbers[0] if numbers else "",
            manager="systemd" if self._manager == "systemd" else "systemd-user" if self._manager == "systemd-user" else "supervisor",
            unified=await asyncio.to_thread(Path("/sys/fs/cgroup/cgroup.controllers").exists),
            flags=frozenset(_FLAG.findall(run)),
            volume_flags=frozenset(_FLAG.findall(volume)),
            network_flags=frozenset(_FLAG.findall(network)),
        )


def find(choice: str, path: str | None = None) -> tuple[EngineKind, str]:
    """The engine's kind and the path of its program. A `docker` that only calls podman is Podman. Raises RuntimeFailed."""
    docker, podman = shutil.which("docker", path=path), shutil.which("podman", path=path)
    if choice != "podman" and docker and not _calls_podman(docker):
        return "docker", os.path.abspath(docker)
    if choice != "docker" and podman:
        return "podman", os.path.abspath(podman)
    wanted = {"docker": "docker", "podman": "podman"}.get(choice, "neither docker nor podman")
    missing = f"{wanted} is on this machine" if choice == "auto" else f"no {wanted} is on this machine ([runtime] containers = {choice})"
    raise RuntimeFailed(f"a container needs an engine, and {missing}", remedy="install docker.io or podman")


def _calls_podman(program: str) -> bool:
    real = os.path.realpath(program)
    if os.path.basename(real) == "podman":
        return True
    try:
        with open(real, "rb") as file:
            begin = file.read(SCRIPT + 1)
    except OSError:
        return False
    return len(begin) <= SCRIPT and begin.startswith(b"#!") and b"podman" in begin


async def _output(command: Sequence[str]) -> str:
    """What a program says, "" if it fails."""
    try:
        done = await programs.run(command, limit=ANSWER_SECONDS)
    except TimeoutError:
        return ""
    except OSError as error:
        raise RuntimeFailed(f"cannot run {command[0]}: {error.strerror}") from error
    return done.stdout if done.code == 0 else ""
