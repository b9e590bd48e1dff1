"""Clouds on loopback: Azurite, which speaks Azure Blob, and moto's server, which speaks S3. One of each for all tests of a process."""

from __future__ import annotations

import atexit
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from functools import cache
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from argosy.images.azure_account import AZURITE_ACCOUNT, AZURITE_KEY

AZURITE = Path(__file__).parents[2] / ".tools/azurite/node_modules/.bin/azurite-blob"
START_SECONDS = 40.0
SECRET = "moto-secret-that-no-log-may-have"


class Azurite:
    """A process of Azurite with a folder of its own."""

    def __init__(self) -> None:
        if not AZURITE.exists() or shutil.which("node") is None:
            pytest.skip("Azurite is not installed: scripts/setup --test")
        self._folder = tempfile.mkdtemp(prefix="azurite-")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", self._folder]
        command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "Azurite has ended"
                assert time.monotonic() < deadline, "Azurite does not listen"
                threading.Event().wait(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.port}/{AZURITE_ACCOUNT}"
        parts = {"DefaultEndpointsProtocol": "http", "AccountName": AZURITE_ACCOUNT, "AccountKey": AZURITE_KEY, "BlobEndpoint": endpoint}
        return {"AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{name}={value}" for name, value in parts.items())}


@cache
def azurite() -> Azurite:
    made = Azurite()
    atexit.register(made.end)
    return made


class S3:
    """moto's server, in a thread."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.endpoint = "http://{}:{}".format(*self._server.get_host_and_port())

    def stop(self) -> None:
        self._server.stop()

    def environment(self, region: str = "eu-central-1") -> dict[str, str]:
        given = {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": region}
        return given | {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": SECRET}


@cache
def s3() -> S3:
    made = S3()
    atexit.register(made.stop)
    return made


def place(kind: str) -> tuple[str, dict[str, str]]:
    """A URL that nobody has used yet and the environment for it. `kind`: az or s3."""
    name = f"images-{uuid.uuid4().hex[:12]}"
    if kind == "az":
        return f"az://{name}/registry", azurite().environment
    return f"s3://{name}/registry", s3().environment()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
