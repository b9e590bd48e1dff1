"""A configuration file for a balancer that somebody else runs, kept up to date: checked, swapped atomically, and its reload asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from argosy import programs
from argosy.errors import RuntimeFailed

log = logging.getLogger(__name__)

PATIENCE = 60.0


class ConfigFile:
    """`check`: the command that judges a configuration, to which its path is added, () for none. `reload`: the command to run after a
    change, () for none. What is refused leaves the file as it is."""

    def __init__(self, path: Path, check: Sequence[str] = ("haproxy", "-c", "-f"), reload: Sequence[str] = ()) -> None:
        self.path = path
        self._check = tuple(check)
        self._reload = tuple(reload)
        self._due = False

    async def apply(self, config: str) -> bool:
        """True when the file was changed; one that says so already is left alone. Returns when its reload is done. Raises RuntimeFailed
        with the command's word, and does what is missing when it is called again."""
        changed = config != await asyncio.to_thread(self._read)
        if changed:
            await self._stage(config)
        if self._due:
            await self._run(self._reload, f"{' '.join(self._reload)} fails")
            self._due = False
        return changed

    async def _stage(self, config: str) -> None:
        staged = self.path.with_name(f"{self.path.name}.new")
        try:
            await asyncio.to_thread(self._write, staged, config)
            if self._check:
                await self._run((*self._check, str(staged)), f"{self._check[0]} refuses the configuration in {staged}")
            await asyncio.to_thread(os.replace, staged, self.path)
            self._due = True
        except OSError as error:
            raise RuntimeFailed(f"cannot write {self.path}: {error.strerror or error}") from error

    def _read(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def _write(self, staged: Path, config: str) -> None:
        staged.write_text(config, encoding="utf-8")
        with contextlib.suppress(FileNotFoundError):
            known = self.path.stat()
            staged.chmod(stat.S_IMODE(known.st_mode))
            if os.geteuid() == 0:
                os.chown(staged, known.st_uid, known.st_gid)

    async def _run(self, command: Sequence[str], what: str) -> None:
        if not command:
            return
        environ = {**os.environ, "PATH": programs.search_path()}
        try:
            done = await programs.run(command, limit=PATIENCE, environ=environ, together=True)
        except TimeoutError as error:
            raise RuntimeFailed(f"{' '.join(command)} has not ended after {PATIENCE:g} s") from error
        except OSError as error:
            raise RuntimeFailed(f"cannot run {command[0]}: {error.strerror}", remedy="install it, or leave the check out") from error
        if done.code:
            text = " ".join(done.stdout.split())[-1000:]
            raise RuntimeFailed(f"{what}: {text or f'{command[0]} ended with status {done.code}'}")
