"""The programs that people push and pull with, and a registry of ours as they run it: a process on a folder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from argosy.lab.base import Command, run
from argosy.programs import Finished

USER, PASSWORD = "alice", "a wonderland"
DEADLINE = 60.0
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
SERVING = re.compile(r"Serving .* on http://(\S+)\.\s*$")


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing) or os.getuid() != 0, reason=f"needs root and {', '.join(missing or programs)}")


class House:
    """A folder with everything that a client writes, and how it is called."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "REGISTRY_AUTH_FILE": str(folder / "auth.json")}
        (folder / "auth.json").write_text("{}")  # podman insists on it
        self.environ = {**os.environ, **own, **(environ or {})}

    async def tell(self, *words: str, stdin: bytes = b"") -> Finished:
        return await run(Command(words, self.environ, folder=str(self.folder)), stdin, timeout=DEADLINE)

    async def good(self, *words: str, stdin: bytes = b"") -> str:
        """What it printed; the test fails if it did."""
        done = await self.tell(*words, stdin=stdin)
        assert done.code == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    async def bad(self, *words: str) -> str:
        """What it complained of; the test fails if it did not."""
        done = await self.tell(*words)
        assert done.code != 0, f"{' '.join(words)} succeeded: {done.stdout}"
        return done.stderr + done.stdout

    @property
    def podman(self) -> Sequence[str]:
        """podman with storage of its own."""
        place = ("--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--tmpdir", f"{self.folder}/tmp")
        return ("podman", *place, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none")


@contextlib.asynccontextmanager
async def registry(folder: Path, *, challenge: str = "") -> AsyncIterator[str]:
    """`argosy registry` on a folder; gives HOST:PORT. With a `challenge` (basic, bearer) it knows USER, and asks for that."""
    options = ["--listen", "127.0.0.1:0", "--storage", f"file://{folder}/images", "--log-level", "error"]
    if challenge:
        line = f"{USER}:".encode() + await asyncio.to_thread(bcrypt.hashpw, PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n"
        await asyncio.to_thread((folder / "htpasswd").write_bytes, line)
        options += ["--htpasswd", f"{folder}/htpasswd", "--challenge", challenge]
    words = (sys.executable, "-c", "from argosy.cli.main import main; main()", "registry", *options)
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            said = (await process.stdout.readline()).decode()
        match = SERVING.match(said)
        assert match, said
        yield match[1]
    finally:
        process.terminate()
        await process.communicate()


class Layout:
    """An OCI image layout in a folder, built by hand: for images of any architecture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(self, content: bytes | Mapping[str, Any], media_type: str, **more: Any) -> dict[str, Any]:
        """A blob; its descriptor."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def image(self, layer: bytes, architecture: str) -> dict[str, Any]:
        """An image of one uncompressed layer; its descriptor, with its platform."""
        diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.add(config, OCI_CONFIG),
            "layers": [self.add(layer, OCI_LAYER)],
        }
        return self.add(manifest, OCI_MANIFEST, platform={"architecture": architecture, "os": "linux"})

    def index(self, name: str, manifests: Sequence[Mapping[str, Any]]) -> str:
        """An index of those images, under a name in the layout; its digest."""
        content = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}
        found = self.add(content, OCI_INDEX, annotations={"org.opencontainers.image.ref.name": name})
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [found]}))
        return str(found["digest"])


class Cutter:
    """Before a registry: a relay that breaks every connection after so many bytes from it, `times` times."""

    def __init__(self, target: str, after: int, times: int) -> None:
        self._target = target
        self._after = after
        self._times = times
        self.cuts = 0
        self.asked = b""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield "{}:{}".format(*server.sockets[0].getsockname()[:2])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        try:
            with contextlib.suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    asking = group.create_task(self._ask(reader, back))
                    await self._answer(there, writer)
                    asking.cancel()
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            back.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.asked += data
            writer.write(data)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            sent += len(data)
            if sent > self._after and self.cuts < self._times:
                self.cuts += 1
                return
