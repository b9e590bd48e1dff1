"""What the Runtime contract stands on: a runtime, a scratch folder, and ways to wait for what units do (each with a deadline)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from argosy.agent.runtime import Runtime
from argosy.model import LogLine, Observed

DEADLINE = 15.0
SLEEPER = "[Service]\nExecStart=/bin/sleep 1000\n"
Check = Callable[[Observed], bool]


@dataclass
class Ground:
    """A runtime to test, a folder for what units write, and a way to connect to the same engine anew."""

    runtime: Runtime
    connect: Callable[[], Awaitable[Runtime]]
    scratch: Path
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")

    def name(self, short: str) -> str:
        """A unit name of this test's own: "app" is app.service, "app@1.service" stays as it is, behind the prefix."""
        return f"{self.prefix}-{short}" + ("" if "." in short else ".service")

    async def load(self, **texts: str) -> list[str]:
        """Loads units in one call; returns their names. @app@ in a text is the name of the unit `app` of this test."""
        units = [(self.name(short), self.fill(text)) for short, text in texts.items()]
        await self.runtime.load(units)
        return [name for name, _ in units]

    def fill(self, text: str) -> str:
        for short in ("app", "first", "second"):
            text = text.replace(f"@{short}@", self.name(short))
        return text.replace("@dir@", str(self.scratch))

    async def run(self, text: str, launch: int = 1) -> str:
        """Loads and starts one unit; returns its name."""
        (name,) = await self.load(app=text)
        await self.runtime.start([(name, launch)])
        return name

    async def see(self, name: str) -> Observed:
        return (await self.runtime.units())[name]

    async def until(self, name: str, check: Check, what: str) -> Observed:
        """The unit as soon as `check` holds. Fails with what it was instead."""
        end = time.monotonic() + DEADLINE
        while True:
            observed = (await self.runtime.units()).get(name)
            if observed is not None and check(observed):
                return observed
            assert time.monotonic() < end, f"{name} did not become {what} in {DEADLINE:.0f} s: {observed}"
            await asyncio.sleep(0.02)

    async def running(self, name: str) -> Observed:
        return await self.until(name, is_running, "active (running)")

    async def ended(self, name: str) -> Observed:
        return await self.until(name, lambda seen: seen.active in ("inactive", "failed"), "inactive or failed")

    async def text(self, file: str, words: int = 1) -> str:
        """What units wrote to a file of the scratch folder, once it has at least so many words."""
        path = self.scratch / file
        await eventually(lambda: path.exists() and len(path.read_text().split()) >= words, f"{words} words in {file}")
        return path.read_text()


@contextlib.asynccontextmanager
async def on_ground(connect: Callable[[], Awaitable[Runtime]], scratch: Path) -> AsyncIterator[Ground]:
    """A ground on a fresh connection; afterwards the units of this test are killed and unloaded."""
    ground = Ground(await connect(), connect, scratch)
    try:
        yield ground
    finally:
        names = [name for name in await ground.runtime.units() if name.startswith(ground.prefix)]
        await ground.runtime.kill(names)
        await ground.runtime.unload(names)
        await ground.runtime.close()


def is_running(seen: Observed) -> bool:
    return seen.active == "active" and seen.sub == "running" and seen.pid > 0


async def eventually(check: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < end, f"no {what} in {DEADLINE:.0f} s"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def runs(pid: int, command: str) -> None:
    """Waits until the process has become this command: a unit may be called running when it has forked and not executed yet."""
    path = Path(f"/proc/{pid}/cmdline")
    await eventually(lambda: path.read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode() == command, f"{command} as process {pid}")


def shell(script: str, *settings: str) -> str:
    """A unit that runs a shell script; $ in it is the shell's own (doubled for the unit file), % must be doubled by the caller."""
    escaped = script.replace("\\", "\\\\").replace("$", "$$").replace('"', '\\"')
    unit = [line for line in settings if line.split("=")[0] in ("BindsTo", "Requires", "PartOf", "After", "Description") or "Limit" in line]
    service = [line for line in settings if line not in unit]
    return "\n".join(("[Unit]", *unit, "[Service]", *service, f'ExecStart=/bin/sh -c "{escaped}"', ""))


async def said(ground: Ground, name: str, count: int) -> list[str]:
    """What the unit itself wrote (not what its manager said about it), once there are `count` lines."""
    end = time.monotonic() + DEADLINE
    while True:
        lines: list[LogLine] = [line async for line in ground.runtime.logs(name, 1000, False)]
        texts = [line.text for line in lines if not line.source.startswith(("systemd", "argosy"))]
        if len(texts) >= count:
            return texts
        assert time.monotonic() < end, f"{len(texts)} lines of {count}: {lines}"
        await asyncio.sleep(0.05)


async def close(iterator: AsyncIterator[object]) -> None:
    """Closes an async generator that is typed as a plain iterator."""
    aclose = getattr(iterator, "aclose", None)
    assert aclose is not None, "a runtime's iterators can be closed"
    await aclose()
