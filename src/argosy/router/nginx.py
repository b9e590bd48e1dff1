"""nginx as the router's proxy: a daemon of its own in a folder of its own, checked, swapped, reloaded and found again.

Everything of it lies in the folder (nginx.conf, nginx.pid, error.log, temporary files), which is its working folder and its prefix
"./": no path needs to be written into the configuration, and /proc/<pid>/cwd tells ours from others. It needs no root on ports above
1023.

A change goes: nginx.conf.new → `nginx -t` → renamed to nginx.conf → SIGHUP → confirmed when new workers serve and the old ones have stopped
accepting → kept as nginx.conf.good. nginx keeps serving while it reloads; what it says when it cannot is taken from its error log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from argosy import files, proc, programs
from argosy.errors import RuntimeFailed, Unsuitable
from argosy.router import process
from argosy.router.hanging import Hanging, failed
from argosy.sockdiag import Target

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CONF, STAGED, GOOD = "nginx.conf", "nginx.conf.new", "nginx.conf.good"
PIDFILE, ERROR_LOG = "nginx.pid", "error.log"

MAX_LOG = 16_000_000
MAX_LINGERING = 32
"""Workers of earlier configurations that may go on carrying long connections; beyond it the eldest are ended, so that memory is bounded."""

MOST_LINGERING_BYTES = 32_000_000
"""Bytes of configuration that those workers may hold together: a worker's memory grows with it."""

MOST_CHECKED = 1_000_000
"""Bytes of a configuration that `nginx -t` is asked about before a reload. A larger one takes nginx seconds to read; the reload itself
refuses it alike."""

_EMERGENCY = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")


def word(text: str) -> str:
    """nginx's reason in its output or log: its [emerg] lines, each once, without dates; else all of it."""
    found = list(dict.fromkeys(_EMERGENCY.findall(text)))
    return "; ".join(found)[:1000] if found else " ".join(text.split())[:1000]


def reason(code: int, said: str) -> str:
    """Why a run of nginx failed: its own words, else what its exit says. `code` is negative for a signal."""
    if found := word(said):
        return found
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return {126: "it may not be executed", 127: "there is no such program"}.get(code, f"it exited with status {code} and said nothing")


class Nginx:
    """The Proxy contract on nginx >= 1.19.5. `folder` is made if need be and must be on a local file system. `program` may be a longer
    command that ends in nginx (such as nsenter's). `patience` is how long nginx may take to check, start or reload, in seconds."""

    def __init__(
        self,
        folder: Path,
        program: Sequence[str] = ("nginx",),
        *,
        patience: float = 15.0,
        most_lingering: int = MAX_LINGERING,
        most_log: int = MAX_LOG,
        hanging: Hanging | None = None,
    ) -> None:
        self.folder = folder
        self._most_lingering = most_lingering
        self._most_log = most_log
        self._program = tuple(program)
        self._least_patience = patience
        self._active = ""
        self._lingering = 0
        self._pid = 0
        self._pidfd = -1
        self._lost = asyncio.Event()
        self._lock = asyncio.Lock()
        self._hanging = hanging or Hanging()
        self._read = 0
        self._size = 0

    @property
    def active(self) -> str:
        return self._active if self._pid else ""

    @property
    def lingering(self) -> int:
        return self._lingering

    @property
    def pid(self) -> int:
        """The master process, 0 when none runs."""
        return self._pid

    @property
    def _patience(self) -> float:
        """Seconds that nginx may take to check, start or reload: more for a large configuration."""
        return self._least_patience * max(1.0, self._size / MOST_CHECKED)

    async def adopt(self) -> bool:
        async with self._lock:
            if not self._pid:
                pid = await asyncio.to_thread(process.find_master, self.folder, self.folder / PIDFILE)
                if not pid or not self._attach(pid):
                    return False
                self._active = await asyncio.to_thread(self._served)
                await self._retire()
            return True

    async def apply(self, config: str) -> None:
        async with self._lock:
            if self._pid and config == self._active:
                return
            self._size = len(config)
            await self._disk(self._stage, config)
            if not self._pid or len(config) <= MOST_CHECKED:
                await self._check()
            await self._disk(os.replace, self.folder / STAGED, self.folder / CONF)
            try:
                await (self._reload() if self._pid else self._start())
            except RuntimeFailed:
                await self._disk(self._copy, CONF, STAGED)
                await self._disk(self._copy, GOOD, CONF)
                raise
            self._active = config
            await self._disk(self._copy, CONF, GOOD)
            await self._retire()

    async def revive(self) -> bool:
        async with self._lock:
            if self._pid:
                return True
            config = await self._disk(self._copy, GOOD, CONF)
            if not config:
                return False
            self._size = len(config)
            await self._start()
            self._active = config
            return True

    async def wait_lost(self) -> None:
        await self._lost.wait()
        self._lost.clear()

    async def tend(self) -> Collection[Target]:
        if not self._pid:
            return ()
        size = await asyncio.to_thread(self._log_size)
        begin = size if self._read < 0 else self._read if size >= self._read else 0
        said = await asyncio.to_thread(self._log_from, begin) if size > begin else ""
        self._read = size
        await self._hanging.look(said, asyncio.get_running_loop().time())
        if size > self._most_log:
            async with self._lock:
                await self._rotate_logs()
        return failed(said)

    async def stop(self, grace: float = 1.0) -> None:
        async with self._lock:
            pid = self._pid or await asyncio.to_thread(process.find_master, self.folder, self.folder / PIDFILE)
            self._detach()
            if not pid:
                return
            for number, patience in ((signal.SIGQUIT, grace), (signal.SIGTERM, 2.0)):
                proc.send([pid], number)
                if await self._until(lambda: not process.is_master(pid, self.folder), patience):
                    break
            left = await asyncio.to_thread(process.orphans, self.folder)
            proc.send([*left, *([pid] if await asyncio.to_thread(process.is_master, pid, self.folder) else [])], signal.SIGKILL)

    async def close(self) -> None:
        self._detach()

    # --- the process

    async def _check(self) -> None:
        code, said = await self._run("-t", "-q", "-p", "./", "-e", "stderr", "-c", STAGED)
        if code != 0:
            raise RuntimeFailed(f"nginx refuses the configuration: {reason(code, said)}", remedy=f"it is in {self.folder / STAGED}")

    async def _start(self) -> None:
        await self._end_orphans()
        code, said = await self._run("-p", "./", "-e", ERROR_LOG, "-c", CONF)
        if code != 0:
            raise RuntimeFailed(f"nginx does not start: {reason(code, said)}", remedy="is another server listening there?")
        if not await self._until(self._serving, self._patience):
            raise RuntimeFailed(f"nginx does not start: no worker after {self._patience:g} s", remedy=f"see {self.folder / ERROR_LOG}")
        pid = await asyncio.to_thread(process.find_master, self.folder, self.folder / PIDFILE)
        if not pid or not self._attach(pid):
            raise RuntimeFailed("nginx ended right after it started", remedy=f"see {self.folder / ERROR_LOG}")
        log.info("nginx runs in %s (pid %d)", self.folder, pid)

    def _serving(self) -> bool:
        pid = process.find_master(self.folder, self.folder / PIDFILE)
        return pid > 0 and False in process.workers(pid).values()

    async def _end_orphans(self) -> None:
        """Workers of a killed master let go of the ports at once and finish what they carry."""
        left = await asyncio.to_thread(process.orphans, self.folder)
        if left:
            proc.send(list(left), signal.SIGQUIT)
            if not await self._until(lambda: all(process.orphans(self.folder).values()), 1.0):
                proc.send(list(await asyncio.to_thread(process.orphans, self.folder)), signal.SIGKILL)

    async def _reload(self) -> None:
        pid = self._pid
        before = {worker for worker, retiring in (await asyncio.to_thread(process.workers, pid)).items() if not retiring}
        offset = await asyncio.to_thread(self._log_size)
        proc.send([pid], signal.SIGHUP)
        said = ""

        def settled() -> bool:
            nonlocal said
            now = {worker for worker, retiring in process.workers(pid).items() if not retiring}
            if now - before and not now & before:
                return True
            said = word(found) if _EMERGENCY.search(found := self._log_from(offset)) else ""
            return bool(said) or not self._pid

        done = await self._until(settled, self._patience)
        if not self._pid:
            raise RuntimeFailed("nginx ended while it was reloading", remedy=f"see {self.folder / ERROR_LOG}")
        if said:
            raise RuntimeFailed(f"nginx goes on with the configuration it had: {said}")
        if not done:
            self._active = ""
            raise RuntimeFailed(
                f"nginx has not taken up the configuration after {self._patience:g} s", remedy=f"see {self.folder / ERROR_LOG}"
            )

    async def _retire(self) -> None:
        """Keeps the number of retired workers within bounds, and the logs."""
        retired = await asyncio.to_thread(self._retired)
        most = max(1, min(self._most_lingering, MOST_LINGERING_BYTES // max(1, len(self._active))))
        if len(retired) > most:
            log.warning("%d nginx workers of earlier configurations still carry connections: ending the eldest", len(retired))
            proc.send(retired[: len(retired) - most], signal.SIGTERM)
        self._lingering = min(len(retired), most)
        await self._rotate_logs()

    async def _rotate_logs(self) -> None:
        if await self._disk(self._rotate) and self._pid:
            proc.send([self._pid], signal.SIGUSR1)

    def _retired(self) -> list[int]:
        return process.by_age([worker for worker, retiring in process.workers(self._pid).items() if retiring])

    async def _run(self, *arguments: str) -> tuple[int, str]:
        environment = {"PATH": programs.search_path(), "LANG": "C"}
        if "TZ" in os.environ:
            environment["TZ"] = os.environ["TZ"]
        try:
            done = await programs.run((*self._program, *arguments), limit=self._patience, environ=environment, folder=self.folder)
        except TimeoutError as error:
            raise RuntimeFailed(f"nginx {arguments[0]} has not ended after {self._patience:g} s") from error
        except OSError as error:
            raise Unsuitable(f"cannot run {self._program[-1]}: {error.strerror}", remedy="install nginx (Debian: nginx-light)") from error
        return done.code, done.stderr

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        pause = 0.002
        while not await asyncio.to_thread(condition):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        return True

    # --- losing it

    def _attach(self, pid: int) -> bool:
        self._detach()
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        self._pid = pid
        self._lost.clear()
        self._read = -1
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)
        return True

    def _detach(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1

    def _ended(self) -> None:
        log.warning("nginx in %s has ended (it was pid %d)", self.folder, self._pid)
        self._detach()
        self._lost.set()

    # --- the folder; all of these block

    async def _disk(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(function, *arguments, **named)
        except OSError as error:
            raise RuntimeFailed(f"cannot write nginx's files in {self.folder}: {error.strerror or error}") from error

    def _stage(self, config: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        mode = self.folder.stat().st_mode
        if os.getuid() == 0 and mode & 0o011 != 0o011:
            self.folder.chmod(mode & 0o7777 | 0o011)  # root's nginx has workers of another user, who enter it by their working folder
        (self.folder / STAGED).write_text(config, encoding="utf-8")

    def _copy(self, source: str, destination: str) -> str:
        """Copies by rename, so that no reader sees half of it; the text, "" when there is no source."""
        try:
            config = (self.folder / source).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        files.write(self.folder / destination, config.encode())
        return config

    def _served(self) -> str:
        """The configuration of a running nginx: known only if the file is the one that was last confirmed."""
        try:
            config = (self.folder / CONF).read_text(encoding="utf-8")
            return config if config == (self.folder / GOOD).read_text(encoding="utf-8") else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def _log_size(self) -> int:
        try:
            return (self.folder / ERROR_LOG).stat().st_size
        except OSError:
            return 0

    def _log_from(self, offset: int) -> str:
        try:
            with (self.folder / ERROR_LOG).open("rb") as file:
                file.seek(offset)
                return file.read(100_000).decode(errors="replace")
        except OSError:
            return ""

    def _rotate(self) -> bool:
        """Puts logs aside that have grown; True if nginx must open them anew. The one before is dropped."""
        turned = False
        for name in (ERROR_LOG, "access.log"):
            path = self.folder / name
            if path.exists() and path.stat().st_size > self._most_log:
                path.replace(self.folder / f"{name}.1")
                turned = True
        return turned
