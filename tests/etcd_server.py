"""Real etcd servers for tests: Debian's program on loopback, on ports that are free, its data in memory where the host can.

async with etcd_server(folder) as endpoints: ...             # one member, plain
async with etcd_cluster(folder) as cluster: ...              # three members, mutual TLS: cluster.endpoints, cluster.tls
    await cluster.kill(0); await cluster.restart(0); cluster.pause(1); cluster.resume(1); await cluster.leader()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from argosy.store.etcd import EtcdTls
from argosy.trust.authority import Pair, create_authority, issue

START_DEADLINE = 15.0
ATTEMPTS = 3
"""A port that was free a moment ago may be taken by somebody else: then the member starts again on others."""


class EtcdFailed(AssertionError):
    """etcd did not start; says what it said."""


def program() -> str:
    found = shutil.which("etcd")
    if found is None:
        pytest.fail("etcd is not installed: run scripts/setup --test (it installs Debian's etcd-server)", pytrace=False)
    return found


@contextlib.contextmanager
def fast_folder() -> Iterator[Path]:
    """A new folder in memory if the host has room there (fsync costs nothing), else on the disk. Removed at the end."""
    memory = Path("/dev/shm")
    inside = memory if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 512 << 20 else None
    with tempfile.TemporaryDirectory(prefix="argosy-etcd-", dir=inside, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def free_ports(count: int) -> Sequence[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Member:
    """One etcd process. Its data stays when it is killed."""

    def __init__(self, folder: Path, name: str, client_port: int, peer_port: int, pair: Pair | None, ca: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = name
        self.endpoint = f"127.0.0.1:{client_port}"
        scheme = "https" if pair else "http"
        self.client_url = f"{scheme}://{self.endpoint}"
        self.peer_url = f"{scheme}://127.0.0.1:{peer_port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._files: Sequence[str] = ()
        if pair:
            for file, content in (("ca.pem", ca), ("cert.pem", pair.cert), ("key.pem", pair.key)):
                (folder / file).write_bytes(content)
            self._files = [str(folder / file) for file in ("ca.pem", "cert.pem", "key.pem")]

    def start(self, cluster: str, extra: Sequence[str] = ()) -> None:
        """Does not wait: the members of a cluster wait for each other."""
        command = [
            program(), "--name", self.name, "--data-dir", str(self.folder / "data"), "--logger", "zap", "--log-level", "warn",
            "--listen-client-urls", self.client_url, "--advertise-client-urls", self.client_url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", cluster, "--initial-cluster-state", "new", *extra,
        ]  # fmt: skip
        if self._files:
            ca, cert, key = self._files
            command += ["--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", cert, "--key-file", key]
            command += ["--peer-client-cert-auth", "--peer-trusted-ca-file", ca, "--peer-cert-file", cert, "--peer-key-file", key]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        """Until it says that it is healthy. Raises EtcdFailed with the end of its log."""
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            if self.healthy():
                return
            time.sleep(0.02)
        said = (self.folder / "log").read_text(errors="replace")[-2000:]
        self.kill()
        raise EtcdFailed(f"etcd {self.name} did not become healthy at {self.client_url}:\n{said}")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.client_url}/health", timeout=1, context=self._context()) as answer:
                return bool(json.load(answer).get("health") == "true")
        except (OSError, ValueError):
            return False

    def leads(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.client_url}/metrics", timeout=1, context=self._context()) as answer:
                return b"\netcd_server_is_leader 1" in answer.read()
        except OSError:
            return False

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None, f"etcd {self.name} does not run"
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def etcdctl(self, *arguments: str) -> str:
        """Runs etcd's own client (API 3) against this member; its output."""
        command = ["etcdctl", "--endpoints", self.client_url, *arguments]
        if self._files:
            command += [f"--{name}={file}" for name, file in zip(("cacert", "cert", "key"), self._files, strict=True)]
        done = subprocess.run(command, env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise EtcdFailed(f"etcdctl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def restore(self, snapshot: Path, cluster: str, token: str) -> None:
        """Puts a snapshot in the place of the data of this member, which does not run."""
        shutil.rmtree(self.folder / "data")
        self.etcdctl(
            "snapshot", "restore", str(snapshot), "--data-dir", str(self.folder / "data"), "--name", self.name,
            "--initial-cluster", cluster, "--initial-advertise-peer-urls", self.peer_url, "--initial-cluster-token", token,
        )  # fmt: skip

    def _context(self) -> ssl.SSLContext | None:
        if not self._files:
            return None
        ca, cert, key = self._files
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        return context


class Cluster:
    """The members by number, and what may happen to them."""

    def __init__(self, folder: Path, count: int, secure: bool, extra: Sequence[str]) -> None:
        authority = create_authority("test", time.time()) if secure else None
        self.tls: EtcdTls | None = None
        ca = b""
        if authority is not None:
            client = issue(authority, "client", time.time())
            ca = authority.cert
            self.tls = EtcdTls(ca, client.cert, client.key)
        ports = free_ports(2 * count)
        self._extra = extra
        self.members = [
            Member(
                folder / f"e{number}", f"e{number}", ports[2 * number], ports[2 * number + 1],
                issue(authority, f"e{number}", time.time()) if authority else None, ca,
            )
            for number in range(count)
        ]  # fmt: skip
        self._peers = ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    @property
    def endpoints(self) -> Sequence[str]:
        return [member.endpoint for member in self.members]

    async def start(self) -> None:
        for member in self.members:
            member.start(self._peers, self._extra)
        await asyncio.gather(*(asyncio.to_thread(member.wait_ready) for member in self.members))

    async def kill(self, number: int) -> None:
        """A power cut: SIGKILL."""
        await asyncio.to_thread(self.members[number].kill)

    async def restart(self, number: int, *, wait: bool = True) -> None:
        """Starts a killed member again, on its data."""
        self.members[number].start(self._peers, self._extra)
        if wait:
            await self.ready(number)

    async def ready(self, number: int) -> None:
        await asyncio.to_thread(self.members[number].wait_ready)

    async def snapshot(self, file: Path) -> None:
        """A backup, as an operator makes it."""
        await asyncio.to_thread(self.members[0].etcdctl, "snapshot", "save", str(file))

    async def restore(self, snapshot: Path, token: str = "etcd-cluster") -> None:
        """All members are stopped, restored from the backup and started again; with another token under another cluster id."""
        self.stop()
        for member in self.members:
            await asyncio.to_thread(member.restore, snapshot, self._peers, token)
        await self.start()

    def pause(self, number: int) -> None:
        self.members[number].send(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        self.members[number].send(signal.SIGCONT)

    async def leader(self) -> int:
        """The number of the member that leads."""
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            leading = await asyncio.gather(*(asyncio.to_thread(member.leads) for member in self.members))
            if any(leading):
                return leading.index(True)
            await asyncio.sleep(0.05)
        raise EtcdFailed("no etcd member leads")

    def stop(self) -> None:
        for member in self.members:
            member.kill()


@contextlib.asynccontextmanager
async def etcd_cluster(folder: Path, members: int = 3, *, secure: bool = True, extra: Sequence[str] = ()) -> AsyncIterator[Cluster]:
    """A cluster that answers, with mutual TLS if `secure`. `extra` are further options of every member."""
    for attempt in range(ATTEMPTS):
        cluster = await asyncio.to_thread(Cluster, folder / f"attempt{attempt}", members, secure, extra)
        try:
            await cluster.start()
        except EtcdFailed:
            cluster.stop()
            if attempt == ATTEMPTS - 1:
                raise
            continue
        except BaseException:
            cluster.stop()
            raise
        try:
            yield cluster
        finally:
            await asyncio.to_thread(cluster.stop)
        return


@contextlib.asynccontextmanager
async def etcd_server(folder: Path, *, extra: Sequence[str] = ()) -> AsyncIterator[Sequence[str]]:
    """One member without TLS; gives its endpoints."""
    async with etcd_cluster(folder, 1, secure=False, extra=extra) as cluster:
        yield cluster.endpoints
