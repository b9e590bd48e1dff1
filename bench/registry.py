"""Does our registry carry images as fast as Debian's docker-registry, each on a new folder of the same disk? How much memory does it take?

Both run as people run them: one process on a folder, on loopback, without TLS; docker-registry with the cache that Debian sets. Rounds
alternate between the two, each on an empty folder; the ratios are of the same round, and medians of them are shown. Layers are random
bytes.
The plain client is curl, one layer after the other; skopeo is the client of real life, which hashes every byte on its side, too. Small
pulls
are wrk's: 200 connections, each asking for manifest, configuration and three layers of an image in turn. The peak of memory is the kernel's
own (VmHWM), reset before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import urllib.request
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from argosy.reconcile import SystemClock
from bench.webs import free_ports

CLOCK = SystemClock()
MB = 1 << 20
SIZE = int(os.environ.get("BENCH_REGISTRY_MB", "1024"))
"""Of the large image, in MB; the layer of the memory question is twice as large."""

LAYERS = 4
ROUNDS = 3
SMALL_ROUNDS = 5
SMALL_SECONDS = 4
SMALL_CONNECTIONS = 200
SMALL_LAYERS = (2_000, 20_000, 60_000)
KINDS = ("argosy", "docker-registry")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
START_DEADLINE = 20.0

PULLS = """
local paths = { %s }
local n = 0
request = function()
  n = n %% #paths + 1
  return wrk.format("GET", paths[n], { ["Accept"] = "%s" })
end
"""


class Blob:
    """A file and what a manifest says of it."""

    def __init__(self, path: Path, media_type: str) -> None:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while data := file.read(MB):
                digest.update(data)
        self.path = path
        self.digest = f"sha256:{digest.hexdigest()}"
        self.size = path.stat().st_size
        self.descriptor = {"mediaType": media_type, "digest": self.digest, "size": self.size}


class Image:
    """An image whose layers are random, also as an OCI layout for skopeo."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        folder.mkdir()
        self.folder = folder
        self.layers = []
        for number, size in enumerate(sizes):
            path = folder / f"layer{number}"
            with open(path, "wb") as file:
                for start in range(0, size, MB):
                    file.write(os.urandom(min(MB, size - start)))
            self.layers.append(Blob(path, LAYER))
        rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]}
        (folder / "config").write_text(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}))
        self.config = Blob(folder / "config", CONFIG)
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.config.descriptor}
        (folder / "manifest").write_text(json.dumps({**content, "layers": [layer.descriptor for layer in self.layers]}))
        self.manifest = Blob(folder / "manifest", MANIFEST)
        self.size = sum(layer.size for layer in self.layers)
        self._lay_out()

    def _lay_out(self) -> None:
        blobs = self.folder / "layout" / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for blob in (*self.layers, self.config, self.manifest):
            os.link(blob.path, blobs / blob.digest.partition(":")[2])
        (self.folder / "layout" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        named = {**self.manifest.descriptor, "annotations": {"org.opencontainers.image.ref.name": "v1"}}
        (self.folder / "layout" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


class Server:
    """A registry that runs."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"

    def memory(self, what: str) -> int:
        """`VmRSS` or `VmHWM` of all its processes, in bytes."""
        total = 0
        for pid in self._pids():
            found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            total += int(found[1]) * 1024 if found else 0
        return total

    def forget_peak(self) -> None:
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        top = self.process.pid
        children = Path(f"/proc/{top}/task/{top}/children").read_text().split()
        return [top, *map(int, children)]


@asynccontextmanager
async def serving(kind: str, folder: Path) -> AsyncIterator[Server]:
    """One of the two, on an empty folder that is gone afterwards."""
    (port,) = free_ports(1)
    folder.mkdir()
    if kind == "argosy":
        words = [sys.executable, "-c", "from argosy.cli.main import main; main()", "registry"]
        words += ["--listen", f"127.0.0.1:{port}", "--storage", f"file://{folder}", "--log-level", "error"]
    else:
        settings = {
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": f"{folder}/data"}, "delete": {"enabled": True}, "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": f"127.0.0.1:{port}"},
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(settings))
        words = ["docker-registry", "serve", f"{folder}/config.json"]
    environ = dict(os.environ)
    process = await asyncio.create_subprocess_exec(*words, stdout=DEVNULL, stderr=DEVNULL, env=environ)
    try:
        await answers(port)
        yield Server(process, port)
    finally:
        process.terminate()
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, folder)


async def answers(port: int) -> None:
    end = CLOCK.monotonic() + START_DEADLINE
    while CLOCK.monotonic() < end:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError(f"nothing listens on port {port}")


async def told(*words: str) -> str:
    """What a program printed; RuntimeError if it failed."""
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=STDOUT)
    said = (await process.communicate())[0].decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(words[:4])}: {said[-500:]}")
    return said


async def timed(work: Any) -> float:
    begun = CLOCK.monotonic()
    await work
    return CLOCK.monotonic() - begun


async def push(server: Server, image: Image, name: str) -> None:
    """As any client does, one blob after the other; the bodies by curl."""
    base = f"http://{server.address}/v2/{name}"
    for blob in (*image.layers, image.config):
        location = await asyncio.to_thread(begin, f"{base}/blobs/uploads/")
        where = location if location.startswith("http") else f"http://{server.address}{location}"
        url = f"{where}{'&' if '?' in where else '?'}digest={blob.digest}"
        await told("curl", "-sSf", "-H", "Content-Type: application/octet-stream", "-H", "Expect:", "-T", str(blob.path), url)
    words = ("curl", "-sSf", "-X", "PUT", "-H", f"Content-Type: {MANIFEST}", "--data-binary", f"@{image.manifest.path}")
    await told(*words, f"{base}/manifests/v1")


def begin(url: str) -> str:
    """The place of a new upload."""
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30) as answer:
        return str(answer.headers["Location"])


async def pull(server: Server, image: Image, name: str) -> None:
    base = f"http://{server.address}/v2/{name}"
    await told("curl", "-sSf", "-o", "/dev/null", "-H", f"Accept: {MANIFEST}", f"{base}/manifests/v1")
    for blob in (image.config, *image.layers):
        await told("curl", "-sSf", "-o", "/dev/null", f"{base}/blobs/{blob.digest}")


async def skopeo_push(server: Server, image: Image) -> None:
    there = f"docker://{server.address}/skopeo:v1"
    await told("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{image.folder}/layout:v1", there)


async def skopeo_pull(server: Server, folder: Path) -> None:
    there = f"docker://{server.address}/skopeo:v1"
    await told("skopeo", "copy", "--preserve-digests", "--src-tls-verify=false", there, f"dir:{folder}")
    await asyncio.to_thread(shutil.rmtree, folder)


async def large(folder: Path, kind: str, image: Image) -> dict[str, float]:
    """MB/s of each way to carry the large image, on an empty registry; skopeo's on another, where nothing is known yet."""
    found = {}
    async with serving(kind, folder / "store") as server:
        found["push"] = await timed(push(server, image, "plain"))
        found["pull"] = await timed(pull(server, image, "plain"))
    async with serving(kind, folder / "store") as server:
        found["skopeo push"] = await timed(skopeo_push(server, image))
        found["skopeo pull"] = await timed(skopeo_pull(server, folder / "pulled"))
    return {what: image.size / MB / seconds for what, seconds in found.items()}


async def small(folder: Path, servers: dict[str, Server]) -> dict[str, list[float]]:
    """Requests/s of many small pulls at once, in turn. Raises RuntimeError for one that failed."""
    image = await asyncio.to_thread(Image, folder / "small", SMALL_LAYERS)
    paths = ["manifests/v1", *(f"blobs/{blob.digest}" for blob in (image.config, *image.layers))]
    script = folder / "pulls.lua"
    script.write_text(PULLS % (", ".join(f'"/v2/small/{path}"' for path in paths), MANIFEST))
    for server in servers.values():
        await push(server, image, "small")
    found: dict[str, list[float]] = {kind: [] for kind in servers}
    for _ in range(SMALL_ROUNDS):
        for kind, server in servers.items():
            words = (
                "wrk",
                "-t1",
                f"-c{SMALL_CONNECTIONS}",
                f"-d{SMALL_SECONDS}s",
                "--timeout",
                "30s",
                "-s",
                str(script),
                f"http://{server.address}",
            )
            said = await told(*words)
            rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
            if rate is None or "Non-2xx" in said or "Socket errors" in said:
                raise RuntimeError(f"wrk against {kind}: {said}")
            found[kind].append(float(rate[1]))
    return found


async def memory(folder: Path, kind: str, image: Image) -> tuple[float, float, float]:
    """(idle, peak above idle while the layer goes in, ... while it comes out), in MB. Idle: after a small image went both ways."""
    async with serving(kind, folder / "store") as server:
        first = await asyncio.to_thread(Image, folder / "first", SMALL_LAYERS)
        await push(server, first, "first")
        await pull(server, first, "first")
        await asyncio.to_thread(shutil.rmtree, folder / "first")
        idle = server.memory("VmRSS")
        peaks = []
        for work in (push, pull):
            server.forget_peak()
            await work(server, image, "huge")
            peaks.append((server.memory("VmHWM") - idle) / MB)
    return idle / MB, peaks[0], peaks[1]


async def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as made:
        folder = Path(made)
        image = await asyncio.to_thread(Image, folder / "large", [SIZE * MB // LAYERS] * LAYERS)
        rounds = [{kind: await large(folder, kind, image) for kind in KINDS} for _ in range(ROUNDS)]
        await asyncio.to_thread(shutil.rmtree, image.folder)
        async with serving(KINDS[0], folder / "ours") as ours, serving(KINDS[1], folder / "peer") as peer:
            pulls = await small(folder, dict(zip(KINDS, (ours, peer), strict=True)))
        huge = await asyncio.to_thread(Image, folder / "huge", [2 * SIZE * MB])
        grown = {kind: await memory(folder, kind, huge) for kind in KINDS}
    return figures(rounds, pulls, grown)


def figures(
    rounds: list[dict[str, dict[str, float]]], pulls: dict[str, list[float]], grown: dict[str, tuple[float, float, float]]
) -> dict[str, Any]:
    ours, peer = KINDS
    found: dict[str, Any] = {}
    for what in rounds[0][ours]:
        ratio = statistics.median(one[ours][what] / one[peer][what] for one in rounds)
        rate = statistics.median(one[ours][what] for one in rounds)
        found[f"registry: {what} of {SIZE} MB, of docker-registry's throughput"] = {"value": ratio, "unit": "x", "reach": ">= 1.0"}
        found[f"  {what}"] = {"value": rate, "unit": "MB/s", "reach": ""}
    ratio = statistics.median(mine / theirs for mine, theirs in zip(pulls[ours], pulls[peer], strict=True))
    found["registry: 200 small pulls at once, of docker-registry's requests/s"] = {"value": ratio, "unit": "x", "reach": ">= 1.0"}
    found["  small pulls"] = {"value": statistics.median(pulls[ours]), "unit": "requests/s", "reach": ""}
    for kind, (idle, pushed, pulled) in grown.items():
        reach = "<= 32" if kind == ours else ""
        found[f"{kind}: memory above idle, a {2 * SIZE} MB layer goes in"] = {"value": pushed, "unit": "MB", "reach": reach}
        found[f"{kind}: memory above idle, ... comes out"] = {"value": pulled, "unit": "MB", "reach": reach}
        found[f"  {kind}: memory, idle"] = {"value": idle, "unit": "MB", "reach": ""}
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
