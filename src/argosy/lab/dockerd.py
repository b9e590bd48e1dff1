"""A Docker Engine of one's own on this host: for tests, the operator's side of the demo, benchmarks. Needs root and docker.io.

    async with dockerd(insecure_registries=["127.0.0.1:5000"]) as engine:
        ...                       # engine.url, engine.environ (for the docker command), engine.folder
        await engine.kill()       # SIGKILL; its containers live on until it starts again, as after a crash
        await engine.start()

Its data, sockets, plugins, containerd and /etc/docker are in one folder; its processes and mounts are in namespaces (see keeper.py), its
control groups in one group. So engines stand side by side, the host's own engine is not touched, and nothing is left at the end, even
if the owner was killed. By default it shares the host's network, where it makes no bridge and no firewall rule: containers have
`--network host` or none. With `own_network` it has a network namespace with everything Docker does there, cut off from the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import msgspec

from argosy.errors import InvalidInput, RuntimeFailed, Unsuitable
from argosy.lab.base import to_the_end
from argosy.lab.keeper import Kept

PROGRAMS = {"dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "unshare": "util-linux", "mount": "mount", "ip": "iproute2"}
"""What it needs on the host, and the Debian package that brings it."""

START_DEADLINE = 60.0
STOP_DEADLINE = 30.0
POLL = 0.02
MAX_FOLDER = 60
"""Characters of the folder's path: containerd's sockets are below it, and a unix socket's path has at most 107."""

HOST_NETWORK: Mapping[str, object] = {"bridge": "none", "iptables": False, "ip-forward": False, "ip-masq": False}
OWN_NETWORK: Mapping[str, object] = {"bip": "198.19.255.1/24", "default-address-pools": [{"base": "198.19.0.0/17", "size": 24}]}
"""Addresses of the range that is kept for benchmarks: nobody's real network is hidden by them."""


class Dockerd:
    """A running engine, until its owner's context ends."""

    def __init__(self, folder: Path, own_network: bool) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self.log = folder / "log"
        self.own_network = own_network
        self._keeper: asyncio.subprocess.Process | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._code = ""
        self._host_pid = 0

    @property
    def environ(self) -> Mapping[str, str]:
        """What makes the `docker` command speak to this engine, with settings and credentials of its own."""
        return {"DOCKER_HOST": self.url, "DOCKER_CONFIG": str(self.folder / "client")}

    @property
    def network(self) -> Path:
        """Its network namespace, for `nsenter --net=...`; the host's if it has none of its own."""
        return Path(f"/proc/{self._host_pid or 'self'}/ns/net")

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    async def start(self) -> None:
        """Starts the engine on its data and returns when it answers; one that runs is left alone. Raises RuntimeFailed with the end of its
        log."""
        if not self.running:
            await asyncio.to_thread((self.folder / "pid").unlink, missing_ok=True)
            self._ended.clear()
            self._tell("start")
        try:
            async with asyncio.timeout(START_DEADLINE):
                while self.running and not await self.answers():  # noqa: ASYNC110 - it is another process that this waits for
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise RuntimeFailed(f"dockerd did not answer within {START_DEADLINE:.0f} s: {await self.said()}") from None
        if not self.running:
            raise RuntimeFailed(f"dockerd ended with status {self._code} instead of starting: {await self.said()}")

    async def stop(self) -> None:
        """An orderly end (SIGTERM): containers are stopped first. SIGKILL if that takes too long."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await self._ended.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, and containerd goes with it. Containers live on; the next start ends them, unless `live-restore` is set."""
        self.signal(signal.SIGKILL)
        await self._ended.wait()

    def pause(self) -> None:
        """The engine stands still: connections are accepted by the kernel, and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self._tell(f"signal {number.value}")

    async def answers(self) -> bool:
        """Whether it answers a ping."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        try:
            writer.write(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return (await reader.readline()).split()[1:2] == [b"200"]
        except OSError:
            return False
        finally:
            writer.transport.abort()

    async def said(self, last: int = 12) -> str:
        """The last lines of its log that tell of more than its ordinary course; failing those, the last lines."""
        try:
            text = await asyncio.to_thread(self.log.read_text, errors="replace")
        except FileNotFoundError:
            return ""
        lines = text.splitlines()
        return "\n".join([line for line in lines if " level=info " not in line][-last:] or lines[-last:])

    def _tell(self, line: str) -> None:
        if self._keeper is None or self._keeper.stdin is None or self._keeper.returncode is not None:
            raise RuntimeFailed("the engine's keeper has ended", remedy="make a new engine")
        self._keeper.stdin.write(f"{line}\n".encode())

    async def open(self, spec: Kept) -> asyncio.Task[None]:
        """Starts the keeper; the task listens to it until it ends."""
        words = (sys.executable, "-P", "-m", "argosy.lab.keeper", msgspec.json.encode(spec).decode())
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        pipe = asyncio.subprocess.PIPE
        self._keeper = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, env=environ, start_new_session=True)
        return asyncio.create_task(self._listen(self._keeper))

    async def close(self) -> None:
        """Everything ends and is gone."""
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            await self._keeper.wait()

    async def _listen(self, keeper: asyncio.subprocess.Process) -> None:
        assert keeper.stdout is not None
        async for line in keeper.stdout:
            word, _, value = line.decode().strip().partition(" ")
            if word == "host":
                self._host_pid = int(value)
            elif word == "ended":
                self._code = value
                self._ended.set()
        self._ended.set()


@contextlib.asynccontextmanager
async def dockerd(
    base: Path | None = None,
    *,
    insecure_registries: Sequence[str] = (),
    registry_mirrors: Sequence[str] = (),
    own_network: bool = False,
    options: Mapping[str, object] | None = None,
) -> AsyncGenerator[Dockerd, None]:
    """An engine that answers, in a new folder below `base` (the system's folder for temporary files), all gone at the end.

    `options` are further ones of Docker's daemon.json (`{"live-restore": True}`). Raises Unsuitable where no engine can run, InvalidInput
    for a base that is too long a path, RuntimeFailed with what the engine said if it does not start.
    """
    reasons = await asyncio.to_thread(obstacles)
    if reasons:
        raise Unsuitable(f"no Docker Engine can run here: {'; '.join(reasons)}", remedy="as root, with Debian's docker.io installed")
    folder = Path(await to_the_end(tempfile.mkdtemp, prefix="dockerd-", dir=base))
    engine = Dockerd(folder, own_network)
    settings: dict[str, object] = {
        "insecure-registries": list(insecure_registries),
        "registry-mirrors": list(registry_mirrors),
        **(OWN_NETWORK if own_network else HOST_NETWORK),
        **(options or {}),
    }
    listening: asyncio.Task[None] | None = None
    try:
        spec = await to_the_end(_furnish, folder, settings, own_network)
        listening = await engine.open(spec)
        await engine.start()
        yield engine
    finally:
        await asyncio.shield(_leave(engine, listening, folder))


async def _leave(engine: Dockerd, listening: asyncio.Task[None] | None, folder: Path) -> None:
    await engine.close()
    if listening is not None:
        await listening
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)  # the keeper did; unless it never started


def obstacles() -> tuple[str, ...]:
    """Why this host cannot run an engine, a sentence each; () if it can."""
    if os.getuid() != 0:
        return ("not root",)
    missing = [f"{program} (Debian: {package})" for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return (f"missing programs: {', '.join(missing)}",) if missing else ()


def _furnish(folder: Path, settings: Mapping[str, object], own_network: bool) -> Kept:
    if len(str(folder)) > MAX_FOLDER:
        raise InvalidInput(
            f"{folder} is too long a path for an engine's sockets", remedy=f"a base of fewer than {MAX_FOLDER - 20} characters"
        )
    for name in ("etc", "plugins", "shims", "client"):
        (folder / name).mkdir()
    group = folder.name
    config = {
        "hosts": [f"unix://{folder}/docker.sock"],
        "data-root": f"{folder}/data",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/pid",
        "cgroup-parent": f"/argosy-lab/{group}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],  # systemd knows nothing of what lives in our namespaces
        **settings,
    }
    (folder / "daemon.json").write_bytes(msgspec.json.encode(config))
    return Kept(
        command=("dockerd", "--config-file", f"{folder}/daemon.json"),
        folder=str(folder),
        log=f"{folder}/log",
        group=group,
        binds=((f"{folder}/etc", "/etc/docker"), (f"{folder}/plugins", "/run/docker"), (f"{folder}/shims", "/run/containerd")),
        own_network=own_network,
    )
