"""What is behind the fake's API: its containers' lives, its networks and volumes, and who is told of changes."""

from __future__ import annotations

import asyncio
import hashlib
import signal as signals
from collections.abc import Mapping, Sequence

from argosy.docker import fake_networks
from argosy.docker.base import Anew, Change, Filters, Json
from argosy.docker.fake_container import FakeContainer, labelled
from argosy.docker.fake_images import FakeImage, stamp
from argosy.docker.fake_networks import FakeNetwork
from argosy.docker.fake_programs import Process, Program
from argosy.docker.listen import Feed
from argosy.errors import DockerUnavailable, NotFound
from argosy.reconcile import Clock

REMEMBERED = 256
"""Changes that an engine remembers, and tells to a listener that was away."""


class FakeHost:
    def __init__(self, clock: Clock, programs: Mapping[str, Program]) -> None:
        self.clock = clock
        self.programs = programs
        self.containers: dict[str, FakeContainer] = {}
        self.images: dict[str, FakeImage] = {}
        self.networks = fake_networks.own_networks(clock.now())
        self.volumes: dict[str, Json] = {}
        self.anonymous: set[str] = set()
        self.feeds: list[tuple[Feed, Filters]] = []
        self.missed: list[Change] = []
        self.away = ""
        self._count = 100
        self._time = 0

    def number(self) -> int:
        """One that was never given before."""
        self._count += 1
        return self._count

    def check(self, what: str) -> None:
        if self.away:
            raise DockerUnavailable(f"cannot {what}: the Docker Engine is away ({self.away})", remedy="is the engine running?")

    def find(self, name: str) -> FakeContainer:
        """By name, id, or unambiguous beginning of an id."""
        for container in self.containers.values():
            if name in (container.name, container.id):
                return container
        found = [container for id, container in self.containers.items() if id.startswith(name)]
        if len(found) != 1:
            raise NotFound(f"cannot find container {name}: No such container: {name}")
        return found[0]

    # Containers' lives

    def launch(self, container: FakeContainer) -> None:
        """Starts its program. RuntimeFailed if a port is taken."""
        container.ports = dict(fake_networks.bind_ports(container, [one for one in self.containers.values() if one.running]))
        container.status, container.error, container.code = "running", "", 0
        container.started_at = stamp(self.clock.now())
        for name in container.networks:
            self.plug(self.networks[name], container)
        container.process = Process(
            container.argv, container.environ, b"", self.clock, container.write, init=bool(container.host.get("Init")), name=container.name
        )
        container.task = asyncio.create_task(self._live(container, container.process))
        self.tell("container", "start", container.id, container.attributes())
        container.ring()

    async def _live(self, container: FakeContainer, process: Process) -> None:
        code = await process.run(self.programs)
        container.code, container.status, container.finished_at = code, "exited", stamp(self.clock.now())
        container.ports = {}
        self.tell("container", "die", container.id, {**container.attributes(), "exitCode": str(code)})
        for name in container.networks:
            self.unplug(self.networks[name], container)
        container.ring()
        if container.host.get("AutoRemove"):
            self.drop(container, volumes=True)
        elif _restarts(container):
            container.restarts += 1
            await self.clock.sleep(min(60.0, 0.1 * 2.0 ** min(container.restarts - 1, 16)))
            if not container.stopped_by_hand and container.id in self.containers and not container.running:
                self.launch(container)

    def signal(self, container: FakeContainer, number: signals.Signals) -> None:
        self.tell("container", "kill", container.id, {**container.attributes(), "signal": str(int(number))})
        if container.process is not None:
            container.process.send(number)

    async def kill(self, container: FakeContainer) -> None:
        """SIGKILL, and its end."""
        if container.running:
            self.signal(container, signals.SIGKILL)
            await self.ended(container, "kill a container")

    async def ended(self, container: FakeContainer, what: str) -> None:
        while container.running:
            await container.news.wait()
            self.check(what)

    def drop(self, container: FakeContainer, *, volumes: bool) -> None:
        """A container that has ended is gone, with its anonymous volumes."""
        self.containers.pop(container.id, None)
        container.status = "removed"
        container.ring()
        for mount in container.mounts if volumes else ():
            if mount.get("Name") in self.anonymous:
                self.anonymous.discard(mount["Name"])
                self.volumes.pop(mount["Name"], None)
        self.tell("container", "destroy", container.id, container.attributes())

    async def end_all(self) -> None:
        """Every program is gone at once, and nobody is told."""
        tasks = [one.task for one in self.containers.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for container in self.containers.values():
            if container.running:
                container.status, container.code, container.ports = "exited", 137, {}
                for network in self.networks.values():
                    network.unplug(container)
                container.ring()

    # Networks and volumes

    def plug(self, network: FakeNetwork, container: FakeContainer) -> None:
        network.plug(container)
        self.tell("network", "connect", network.id, {"container": container.id, "name": network.name, "type": network.driver})

    def unplug(self, network: FakeNetwork, container: FakeContainer) -> None:
        network.unplug(container)
        self.tell("network", "disconnect", network.id, {"container": container.id, "name": network.name, "type": network.driver})

    def make_volume(self, config: Json) -> Json:
        name = str(config.get("Name") or "")
        if not name:
            name = hashlib.sha256(f"volume {self.number()}".encode()).hexdigest()
            self.anonymous.add(name)
        if name not in self.volumes:
            self.volumes[name] = fake_networks.volume(config, name, self.clock.now())
            self.tell("volume", "create", name, {"driver": self.volumes[name]["Driver"]})
        return self.volumes[name]

    # Who is told

    def tell(self, kind: str, action: str, id: str, attributes: Mapping[str, str]) -> None:
        # no two changes have the same time, whatever the clock says
        self._time = max(self._time + 1, int(self.clock.now() * 1e9))
        change = Change(kind, action, id, dict(attributes), self._time)
        if self.away:
            self.missed.append(change)
        else:
            self._publish(change)

    def come_back(self) -> None:
        missed, self.missed, self.away = self.missed, [], ""
        if len(missed) > REMEMBERED:
            self.anew("the engine was away for too long")
            return
        for change in missed:
            self._publish(change)

    def anew(self, reason: str) -> None:
        for feed, _ in self.feeds:
            feed.put(Anew(f"changes may be missing: {reason}"))

    def _publish(self, change: Change) -> None:
        for feed, filters in self.feeds:
            if all(_wanted(change, name, values) for name, values in filters.items()):
                feed.put(change)


def policy(container: FakeContainer) -> str:
    return str((container.host.get("RestartPolicy") or {}).get("Name") or "no")


def _restarts(container: FakeContainer) -> bool:
    if container.stopped_by_hand:
        return False
    most = int((container.host.get("RestartPolicy") or {}).get("MaximumRetryCount") or 0)
    match policy(container):
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return container.code != 0 and (not most or container.restarts < most)
        case _:
            return False


def _wanted(change: Change, name: str, values: Sequence[str]) -> bool:
    match name:
        case "type":
            return change.kind in values
        case "event":
            return any(change.action == value or change.action.startswith(f"{value}:") for value in values)
        case "label":
            return labelled(change.attributes, values)
        case "image":
            return change.attributes.get("image") in values or (change.kind == "image" and change.id in values)
        case _:
            named = change.kind == name and any(value in (change.id, change.attributes.get("name")) for value in values)
            return named or (change.kind == name and any(change.id.startswith(value) for value in values))
