"""A container of the fake: its life, and what an engine shows of it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Literal

from argosy.docker.base import Filters, Json, Output
from argosy.docker.fake_images import FakeImage, stamp
from argosy.docker.fake_programs import Process
from argosy.errors import InvalidInput
from argosy.reconcile import Clock

ZERO = "0001-01-01T00:00:00Z"
KNOWN_FILTERS = {"label", "name", "id", "status", "network", "volume", "ancestor"}


class FakeContainer:
    def __init__(self, number: int, name: str, config: Json, image: FakeImage, clock: Clock) -> None:
        self.id = hashlib.sha256(f"{number} {name}".encode()).hexdigest()
        self.name = name
        self.host: Json = dict(config.get("HostConfig") or {})
        self.image = image
        self.config = _merged(config, image.config)
        self.clock = clock
        self.created = clock.now()
        self.status = "created"
        self.code = 0
        self.error = ""
        self.started_at = ZERO
        self.finished_at = ZERO
        self.restarts = 0
        self.stopped_by_hand = False
        self.health = "starting" if config.get("Healthcheck") else ""
        self.process: Process | None = None
        self.task: asyncio.Task[None] | None = None
        self.output: list[tuple[float, Output]] = []
        self.news = asyncio.Event()
        self.networks: dict[str, Json] = {}
        self.mounts: list[Json] = []
        self.ports: dict[str, list[Json]] = {}

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def argv(self) -> Sequence[str]:
        return [*(self.config["Entrypoint"] or []), *(self.config["Cmd"] or [])]

    @property
    def environ(self) -> Mapping[str, str]:
        return dict(line.partition("=")[::2] for line in self.config["Env"]) | {"HOSTNAME": self.config["Hostname"]}

    @property
    def stop_signal(self) -> signal.Signals:
        return to_signal(self.config.get("StopSignal") or "SIGTERM")

    def write(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        self.output.append((self.clock.now(), Output("stdout" if self.config.get("Tty") else stream, data)))
        self.ring()

    def ring(self) -> None:
        """Wakes those who wait for something of this container."""
        self.news.set()
        self.news = asyncio.Event()

    def shown(self) -> Json:
        """As inspect shows it."""
        state: Json = {
            "Status": self.status, "Running": self.running, "Paused": False, "Restarting": False, "OOMKilled": False, "Dead": False,
            "Pid": int(self.id[:4], 16) + 2 if self.running else 0, "ExitCode": self.code, "Error": self.error,
            "StartedAt": self.started_at, "FinishedAt": self.finished_at,
        }  # fmt: skip
        if self.health:
            state["Health"] = {"Status": self.health, "FailingStreak": 0, "Log": []}
        first = next(iter(self.networks.values()), {})
        return {
            "Id": self.id, "Name": f"/{self.name}", "Created": stamp(self.created), "Path": self.argv[0] if self.argv else "",
            "Args": list(self.argv[1:]), "State": state, "Image": self.image.id, "RestartCount": self.restarts, "Platform": "linux",
            "Driver": "fake", "Config": dict(self.config), "HostConfig": {"NetworkMode": "default", **self.host},
            "Mounts": list(self.mounts),
            "NetworkSettings": {"Networks": dict(self.networks), "Ports": dict(self.ports), "IPAddress": first.get("IPAddress", "")},
        }  # fmt: skip

    def listed(self) -> Json:
        """As the list shows it."""
        ports = [
            {
                "PrivatePort": int(port.partition("/")[0]),
                "Type": port.partition("/")[2],
                "PublicPort": int(one["HostPort"]),
                "IP": one["HostIp"],
            }
            for port, bound in self.ports.items()
            for one in bound
        ]
        return {
            "Id": self.id, "Names": [f"/{self.name}"], "Image": self.config["Image"], "ImageID": self.image.id,
            "Command": " ".join(self.argv), "Created": int(self.created), "Ports": ports, "Labels": dict(self.config["Labels"]),
            "State": self.status,
            "Status": {"running": "Up", "created": "Created"}.get(self.status, f"Exited ({self.code})"), "Mounts": list(self.mounts),
            "HostConfig": {"NetworkMode": self.host.get("NetworkMode", "default")}, "NetworkSettings": {"Networks": dict(self.networks)},
        }  # fmt: skip

    def attributes(self) -> dict[str, str]:
        """What an engine tells with each change of it."""
        return {**self.config["Labels"], "image": self.config["Image"], "name": self.name}

    def matches(self, filters: Filters) -> bool:
        return all(self._matches(name, values) for name, values in filters.items())

    def _matches(self, name: str, values: Sequence[str]) -> bool:
        match name:
            case "label":
                return labelled(self.config["Labels"], values)
            case "name":
                return any(re.search(value.lstrip("/"), self.name) for value in values)
            case "id":
                return any(self.id.startswith(value) for value in values)
            case "status":
                return self.status in values
            case "network":
                return any(value in self.networks or value in {one["NetworkID"] for one in self.networks.values()} for value in values)
            case "volume":
                return any(value in (mount.get("Name"), mount["Destination"]) for value in values for mount in self.mounts)
            case _:
                return any(value in (self.config["Image"], self.image.id, *self.image.tags, f"{value}:latest") for value in values)


def labelled(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Whether all of `key` and `key=value` hold."""
    return all(labels.get(key) == value if equals else key in labels for key, equals, value in (text.partition("=") for text in wanted))


def check_filters(filters: Filters | None, known: set[str]) -> Filters:
    for name in filters or {}:
        if name not in known:
            raise InvalidInput(f"cannot list: Invalid filter '{name}'")
    return filters or {}


def to_signal(name: str) -> signal.Signals:
    """`SIGHUP`, `HUP` or `1`. InvalidInput for none."""
    try:
        if name.isdigit():
            return signal.Signals(int(name))
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise InvalidInput(f"cannot kill: Invalid signal: {name}") from None


def lines_of(output: Sequence[tuple[float, Output]], last: int | None, since: int) -> list[Output]:
    """What was written since a time, the last lines of it: a piece may hold several lines, and a line may come in several pieces."""
    found = [one for at, one in output if at >= since]
    if last is None:
        return found
    kept: list[Output] = []
    left = last
    for one in reversed(found):
        if left <= 0:
            break
        lines = one.data.splitlines(keepends=True)[-left:]
        left -= len(lines)
        kept.append(Output(one.stream, b"".join(lines)))
    return kept[::-1]


def _merged(config: Json, image: Json) -> Json:
    """The container's configuration over its image's, as engines do it."""
    names = {line.partition("=")[0] for line in config.get("Env") or []}
    cleared = config.get("Entrypoint") is not None  # another entrypoint makes the image's command meaningless
    return {
        "Hostname": "", "User": "", "WorkingDir": "", "Tty": False, **image, **config,
        "Env": [line for line in image["Env"] if line.partition("=")[0] not in names] + list(config.get("Env") or []),
        "Labels": {**image["Labels"], **(config.get("Labels") or {})},
        "Cmd": config.get("Cmd") or (None if cleared else image["Cmd"]),
        "Entrypoint": config.get("Entrypoint") or image["Entrypoint"],
        "ExposedPorts": {**image["ExposedPorts"], **(config.get("ExposedPorts") or {})},
    }  # fmt: skip
