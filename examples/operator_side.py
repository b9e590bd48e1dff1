"""The operator's side of the fleet starter, on this host: a blob store, a registry of one's own on it, a Docker Engine to build with.

    blob store      Azurite (Azure's blob service for developers) where scripts/setup --test has brought it, otherwise a folder of this
                    host's that every machine has at /srv/images. Reached by this host and the lab's machines only.
    registry        `argosy registry` on localhost, on that store: where images are pushed
    Docker Hub      a lab has no way to it; a second `argosy registry` stands in, as the mirror that the machines' Docker Engines ask first.
                    It holds one image: the registry's own
    Docker Engine   a private one of this host, that builds and pushes

The first three belong to the lab: they outlive the demo and end with `argosy lab down`. The engine ends with the block of `operator`.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import sys
import tarfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from argosy.errors import RuntimeFailed
from argosy.lab import network
from argosy.lab.base import Command, host, lines
from argosy.lab.dockerd import Dockerd, dockerd
from argosy.lab.lab import Lab
from argosy.lab.state import MARK, LabRecord
from argosy.reconcile import Clock, SystemClock
from argosy.trust.authority import Pair, issue_web

CHECKOUT = Path(__file__).parent.parent
STARTER = Path(__file__).parent / "fleet-starter"
AZURITE = CHECKOUT / ".tools" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
ARGOSY = str(Path(sys.executable).parent / "argosy")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, the same everywhere and documented: no secret."""

CONTAINER = "fleet-starter-images"
"""Does not exist until the first registry makes it."""

INSIDE = "/srv/images"
FOLDER = "images"
DEADLINE = 30.0
DOMAIN, APP = "example", "example-app"
NOBODY = 65532
"""The user of the images."""


class Store(msgspec.Struct, frozen=True):
    """Where images are kept. `url` as the host names it, `inside` as the machines do; `environ` holds the credentials, `options` what
    `docker run` needs besides; `name` is for people."""

    name: str
    url: str
    inside: str
    environ: dict[str, str] = {}
    options: str = ""


class Operator(msgspec.Struct, frozen=True):
    """`registry` is HOST:PORT for pushing, `hub` the stand-in for the Docker Hub."""

    lab: Lab
    record: LabRecord
    store: Store
    registry: str
    hub: str
    engine: Dockerd

    async def build(self, *words: str) -> AsyncIterator[str]:
        """Builds images and pushes them with the starter's own script; yields what it says. Raises RuntimeFailed if it fails."""
        argv = (str(STARTER / "build"), "--push", "--to", self.registry, "--hub", self.hub, *words)
        environ = {**os.environ, **self.engine.environ}
        said: deque[str] = deque(maxlen=20)
        async for line in lines(Command(("sh", "-c", '"$@" 2>&1 || echo failed', "sh", *argv), environ)):
            said.append(line)
            yield line
        if said and said[-1] == "failed":
            raise RuntimeFailed("\n".join([f"{' '.join(argv)} failed:", *list(said)[:-1]]))

    async def docker(self, *words: str, stdin: str = "") -> str:
        """The docker command, on the operator's engine."""
        return await host("docker", *words, stdin=stdin, environ={**os.environ, **self.engine.environ})


def has_azurite() -> bool:
    """FLEET_STARTER_STORE=folder: as if it were not there."""
    return AZURITE.exists() and os.environ.get("FLEET_STARTER_STORE") != "folder"


def shared_folder(lab: Lab) -> Path:
    """The folder that machines get at /srv/images where there is no Azurite."""
    return lab.base / f"{lab.name}-{FOLDER}"


@asynccontextmanager
async def operator(lab: Lab, clock: Clock | None = None) -> AsyncIterator[Operator]:
    """Everything of the operator's side, for a lab of full machines that is up; see the top of this file."""
    clock = clock or SystemClock()
    record = await lab.record()
    address = network.address(record.number, network.HOST)
    await asyncio.to_thread(record.place("operator").mkdir, exist_ok=True)
    store = await open_store(record, lab, address, clock)
    registry, hub = f"localhost:{free_port('127.0.0.1', 5000)}", f"{address}:{free_port(address, 5000)}"
    async with asyncio.TaskGroup() as group:
        group.create_task(start_registry(record, "registry", registry.replace("localhost", "127.0.0.1"), store, clock))
        of_hub = Store("hub", f"file://{record.place('operator')}/hub", "")
        group.create_task(start_registry(record, "hub", hub, of_hub, clock, "--allow-anyone", "--allow-plain"))
    async with dockerd(insecure_registries=[hub]) as engine:
        yield Operator(lab, record, store, registry, hub, engine)


async def open_store(record: LabRecord, lab: Lab, address: str, clock: Clock) -> Store:
    if not has_azurite():
        folder = shared_folder(lab)
        options = f"--volume {INSIDE}:{INSIDE} --user 0:0"  # the folder is root's, as the operator's registry writes to it, too
        return Store(f"the folder {folder}, which every machine has at {INSIDE}", f"file://{folder}", f"file://{INSIDE}", options=options)
    port = free_port(address, 10000)
    place = record.place("operator") / "azurite"
    argv = (
        str(AZURITE),
        "--blobHost",
        address,
        "--blobPort",
        str(port),
        "--location",
        str(place),
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    )
    await beside(record, "azurite", argv, {"NODE_OPTIONS": "--no-deprecation"})
    await listens(f"{address}:{port}", record, "azurite", clock)
    url = f"az://{CONTAINER}?endpoint=http://{address}:{port}/{ACCOUNT}"
    credentials = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY}
    return Store(f"Azurite at {address}:{port}, in a container that does not exist yet", url, url, credentials)


async def start_registry(record: LabRecord, name: str, listen: str, store: Store, clock: Clock, *words: str) -> None:
    await beside(record, name, (ARGOSY, "registry", "--listen", listen, "--storage", store.url, *words), store.environ)
    await listens(listen, record, name, clock)


async def beside(record: LabRecord, name: str, argv: tuple[str, ...], environ: Mapping[str, str]) -> None:
    """Starts a process that belongs to the lab: it carries the lab's mark, by which `argosy lab down` ends it."""
    log = f'exec </dev/null >>"{record.place("operator")}/{name}.log" 2>&1; exec "$@"'
    marked = {"PATH": PATH, "HOME": "/root", MARK: record.mark("operator"), **environ}
    await host("setsid", "--fork", "sh", "-c", log, "sh", *argv, environ=marked)


async def listens(address: str, record: LabRecord, name: str, clock: Clock) -> None:
    """Until somebody listens there. Raises RuntimeFailed with the end of the log."""
    where, _, port = address.rpartition(":")
    end = clock.monotonic() + DEADLINE
    while True:
        try:
            _, writer = await asyncio.open_connection(where, int(port))
        except OSError as error:
            if clock.monotonic() > end:
                said = await asyncio.to_thread((record.place("operator") / f"{name}.log").read_text, errors="replace")
                raise RuntimeFailed(f"{name} does not listen on {address}: {said[-1000:].strip()}") from error
            await clock.sleep(0.05)
            continue
        writer.close()
        return


def free_port(address: str, wanted: int) -> int:
    """That port if it is free, otherwise some other."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeFailed(f"no port is free on {address}")


# --- what the machines are given


def machine_files(made: Operator) -> dict[str, tuple[bytes, int, int]]:
    """(content, mode, owner) by path: what a cloud-config would bring to every machine."""
    record = made.record
    authority = Pair((Path(record.folder) / "ca.pem").read_bytes(), (Path(record.folder) / "ca.key").read_bytes())
    pair = issue_web(authority, (f"{APP}.{DOMAIN}",), SystemClock().now())
    settings = {"ARGOSY_IMAGES_STORAGE": made.store.inside, **made.store.environ, "OPTIONS": made.store.options}
    return {
        "etc/docker/daemon.json": (json.dumps({"registry-mirrors": [f"http://{made.hub}"]}).encode(), 0o644, 0),
        "etc/fleet-starter/registry.env": ("".join(f"{name}={value}\n" for name, value in settings.items()).encode(), 0o600, 0),
        f"etc/fleet-starter/certificates/{DOMAIN}.crt": (pair.cert, 0o644, 0),
        f"etc/fleet-starter/certificates/{DOMAIN}.key": (pair.key, 0o600, NOBODY),
    }


async def provision(made: Operator) -> tuple[str, ...]:
    """Brings those files to every machine and has Docker read its new setting. Returns their paths."""
    files = await asyncio.to_thread(machine_files, made)
    archive = await asyncio.to_thread(_tar, files)
    async with asyncio.TaskGroup() as group:
        for machine in made.record.machines:
            group.create_task(_provision(made.lab, machine.name, archive))
    return tuple(f"/{path}" for path in files)


async def _provision(lab: Lab, machine: str, archive: bytes) -> None:
    done = await lab.exec(machine, ["sh", "-c", "tar -C / -xf - && systemctl reload docker"], stdin=archive)
    if done.code != 0:
        raise RuntimeFailed(f"{machine} could not be provisioned: {done.stderr}")


def _tar(files: Mapping[str, tuple[bytes, int, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (content, mode, owner) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
