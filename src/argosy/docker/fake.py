"""A Docker Engine in this process, for tests of what stands above: it keeps the whole contract, and what may happen to an engine can be
made to happen. Time is its clock's.

    docker = FakeDocker(clock, programs={"web": serve}, registries={"registry.test:5000": FakeRegistry()})
    docker.end("app-1", 1)      # a container's program ends
    docker.set_health("app-1", "healthy")
    docker.go_away(); docker.come_back()
    await docker.restart()      # as `systemctl restart docker`
"""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from argosy.docker import fake_images, fake_networks
from argosy.docker.base import (
    MAX_OUTPUT,
    Anew,
    Auth,
    Change,
    Executed,
    Filters,
    Json,
    Output,
    Progress,
    Tar,
    Version,
    bad_name,
    bad_reference,
    split_reference,
)
from argosy.docker.fake_container import KNOWN_FILTERS, FakeContainer, check_filters, labelled, lines_of, to_signal
from argosy.docker.fake_host import FakeHost, policy
from argosy.docker.fake_images import FakeImage, FakeRegistry, stamp
from argosy.docker.fake_networks import FakeNetwork, find_network
from argosy.docker.fake_programs import PROGRAMS, Process, Program, missing
from argosy.docker.listen import Feed
from argosy.errors import Conflict, DockerUnavailable, InvalidInput, NotFound, RuntimeFailed
from argosy.reconcile import Clock, within

DEFAULT_GRACE = 10
EVENT_FILTERS = {"type", "event", "container", "image", "label", "network", "volume"}


class FakeDocker:
    """The engine and its client in one. `latency`: seconds that each answer takes."""

    def __init__(
        self, clock: Clock, *, programs: Mapping[str, Program] | None = None, registries: Mapping[str, FakeRegistry] | None = None
    ) -> None:
        self.latency = 0.0
        self._clock = clock
        self._host = FakeHost(clock, {**PROGRAMS, **(programs or {})})
        self._registries = dict(registries or {})
        self._closed = False

    # What may happen to an engine

    def go_away(self, reason: str = "connection refused") -> None:
        """It cannot be reached any more; its containers live on."""
        self._host.away = reason
        for container in self._host.containers.values():
            container.ring()

    def come_back(self) -> None:
        self._host.come_back()

    async def restart(self) -> None:
        """The engine ends and starts: containers end, and those whose restart policy says so start again."""
        again = [one for one in self._host.containers.values() if one.running and policy(one) != "no"]
        await self._host.end_all()
        self._host.missed, self._host.away = [], ""
        for container in again:
            self._host.launch(container)
        self._host.anew("the engine was started anew")

    def end(self, name: str, code: int = 0) -> None:
        """A container's program ends by itself."""
        container = self._host.find(name)
        if container.process is not None:
            container.process.finish(code)

    def set_health(self, name: str, status: str) -> None:
        """What its health check says from now on: starting, healthy, unhealthy."""
        container = self._host.find(name)
        container.health = status
        self._host.tell("container", f"health_status: {status}", container.id, container.attributes())

    # The contract

    async def version(self) -> Version:
        await self._gate("ask the Docker Engine for its version")
        return Version("fake", "1.41", "1.41", "1.12", "linux", "amd64", "Engine")

    async def info(self) -> Json:
        await self._gate("ask the Docker Engine about itself")
        running = sum(one.running for one in self._host.containers.values())
        return {
            "ID": "FAKE", "Name": "fake", "ServerVersion": "fake", "OSType": "linux", "Architecture": "x86_64", "NCPU": 2,
            "MemTotal": 4 << 30, "Containers": len(self._host.containers), "ContainersRunning": running, "ContainersPaused": 0,
            "ContainersStopped": len(self._host.containers) - running, "Images": len(self._host.images),
            "SystemTime": stamp(self._clock.now()), "Driver": "fake", "Labels": [],
        }  # fmt: skip

    async def containers(self, *, all: bool = False, filters: Filters | None = None) -> list[Json]:
        await self._gate("list containers")
        wanted = check_filters(filters, KNOWN_FILTERS)
        newest = sorted(self._host.containers.values(), key=lambda one: one.created, reverse=True)
        return [one.listed() for one in newest if (all or one.running or "status" in wanted) and one.matches(wanted)]

    async def container(self, name: str) -> Json:
        await self._gate("inspect container", name)
        return self._host.find(name).shown()

    async def create(self, config: Json, *, name: str = "", platform: str = "") -> str:
        await self._gate("create container", *([name] if name else []))
        image = fake_images.find(self._host.images, str(config.get("Image") or ""))
        name = name or f"fake_{self._host.number()}"
        if any(one.name == name for one in self._host.containers.values()):
            raise Conflict(f'cannot create container {name}: Conflict. The container name "/{name}" is already in use')
        container = FakeContainer(self._host.number(), name, config, image, self._clock)
        container.config["Hostname"] = container.config["Hostname"] or container.id[:12]
        if not container.argv:
            raise InvalidInput(f"cannot create container {name}: No command specified")
        mode = str(container.host.get("NetworkMode") or "default").replace("default", "bridge")
        wanted = (config.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        networks = [find_network(self._host.networks, network) for network in wanted or [mode]]
        self._host.containers[container.id] = container
        for network in networks:
            network.join(container, (wanted.get(network.name) or {}).get("Aliases") or ())
        for mount in fake_networks.wanted_mounts(container):
            if mount["Type"] == "volume":
                mount |= {"Name": self._host.make_volume({"Name": mount["Name"]})["Name"]}
            container.mounts.append(mount)
        self._host.tell("container", "create", container.id, container.attributes())
        return container.id

    async def start(self, name: str) -> None:
        await self._gate("start container", name)
        container = self._host.find(name)
        if container.running:
            return
        fault = missing(container.argv, self._host.programs)
        if fault:
            container.code, container.error = 127, fault
            raise InvalidInput(f"cannot start container {name}: {fault}")
        container.stopped_by_hand = False
        self._host.launch(container)

    async def stop(self, name: str, *, grace: int | None = None) -> None:
        await self._gate("stop container", name)
        container = self._host.find(name)
        if not container.running:
            container.stopped_by_hand = True
            return
        said = container.config.get("StopTimeout")
        seconds = (DEFAULT_GRACE if said is None else said) if grace is None else max(0, grace)
        if seconds < 0:
            seconds = float("inf")
        container.stopped_by_hand = True
        self._host.signal(container, container.stop_signal)
        with contextlib.suppress(TimeoutError):
            await within(self._clock, seconds, self._host.ended(container, f"stop container {name}"))
        await self._host.kill(container)
        self._host.tell("container", "stop", container.id, container.attributes())

    async def kill(self, name: str, signal: str = "SIGKILL") -> None:
        await self._gate("kill container", name)
        container, number = self._host.find(name), to_signal(signal)
        if not container.running:
            raise Conflict(f"cannot kill container {name}: Container {container.id} is not running")
        container.stopped_by_hand = number in (signals.SIGKILL, container.stop_signal)
        if number == signals.SIGKILL:
            await self._host.kill(container)
        else:
            self._host.signal(container, number)

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        await self._gate("remove container", name)
        container = self._host.find(name)
        if container.running:
            if not force:
                raise Conflict(f"cannot remove container {name}: You cannot remove a running container {container.id}")
            container.stopped_by_hand = True
            await self._host.kill(container)
        self._host.drop(container, volumes=volumes)

    async def wait(self, name: str) -> int:
        await self._gate("wait for container", name)
        container = self._host.find(name)
        await self._host.ended(container, f"wait for container {name}")
        return container.code

    @contextlib.asynccontextmanager
    async def logs(
        self, name: str, *, follow: bool = False, last: int | None = None, since: int = 0
    ) -> AsyncGenerator[AsyncIterator[Output], None]:
        await self._gate("read what container wrote", name)
        async with contextlib.aclosing(self._logs(self._host.find(name), follow, last, since)) as outputs:
            yield outputs

    async def _logs(self, container: FakeContainer, follow: bool, last: int | None, since: int) -> AsyncGenerator[Output, None]:
        told = len(container.output)
        for one in lines_of(container.output[:told], last, since):
            yield one
        while follow and (container.running or told < len(container.output)):
            if told == len(container.output):
                await container.news.wait()
                self._host.check(f"read what container {container.name} wrote")
            for _, one in container.output[told:]:
                told += 1
                yield one

    async def execute(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        user: str = "",
        folder: str = "",
    ) -> Executed:
        await self._gate("run a program in container", name)
        container = self._host.find(name)
        if not container.running:
            raise Conflict(f"cannot run a program in container {name}: Container {container.id} is not running")
        if not argv:
            raise InvalidInput(f"cannot run a program in container {name}: No exec command specified")
        command = " ".join(argv)
        written: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._host.tell("container", f"exec_create: {command}", container.id, container.attributes())
        self._host.tell("container", f"exec_start: {command}", container.id, container.attributes())
        fault = missing(argv, self._host.programs)
        if fault:
            written["stdout"] += f"OCI runtime exec failed: {fault}\r\n".encode()
            code = 126 if "/" not in argv[0] else 127
        else:
            environment = {**container.environ, **(environ or {})}
            process = Process(
                argv, environment, stdin, self._clock, lambda stream, data: written[stream].extend(data), init=True, name=container.name
            )
            code = await process.run(self._host.programs)
        self._host.tell("container", "exec_die", container.id, {**container.attributes(), "exitCode": str(code)})
        return Executed(code, bytes(written["stdout"][:MAX_OUTPUT]), bytes(written["stderr"][:MAX_OUTPUT]))

    async def images(self, *, filters: Filters | None = None) -> list[Json]:
        await self._gate("list images")
        wanted = check_filters(filters, {"reference", "label", "dangling"})
        return [fake_images.listed(one) for one in self._host.images.values() if fake_images.matches(one, wanted)]

    async def image(self, name: str) -> Json:
        await self._gate_image("inspect image", name)
        return fake_images.shown(fake_images.find(self._host.images, name))

    async def pull(
        self, name: str, *, auth: Auth | None = None, platform: str = "", progress: Callable[[Progress], None] | None = None
    ) -> str:
        await self._gate_image("pull", name)
        host, registry = self._registry(name)
        registry.admit(f"pull {name}", auth)
        wanted = fake_images.full(name).removeprefix(f"{host}/")
        found = registry.images.get(wanted)
        if found is None:
            raise NotFound(f"cannot pull {name}: manifest for {fake_images.full(name)} not found: manifest unknown: manifest unknown")
        image = self._host.images.setdefault(found.id, FakeImage(found.id, found.config, found.created, found.size))
        digest = f"{split_reference(name)[0]}@{found.digest}"
        if "@" not in name:
            fake_images.give(self._host.images, image, fake_images.full(name))
        if digest not in image.digests:
            image.digests.append(digest)
        if progress is not None:
            progress(Progress(found.id[7:19], "Pull complete", found.size, found.size))
            progress(Progress("", f"Digest: {found.digest}"))
        self._host.tell("image", "pull", fake_images.full(name), {"name": split_reference(name)[0]})
        return image.id

    async def push(self, name: str, *, auth: Auth | None = None, progress: Callable[[Progress], None] | None = None) -> str:
        await self._gate_image("push", name)
        host, registry = self._registry(name)
        image = fake_images.find(self._host.images, name)
        registry.admit(f"push {name}", auth)
        wanted = fake_images.full(name).removeprefix(f"{host}/")
        registry.images[wanted] = image
        registry.images[f"{split_reference(wanted)[0]}@{image.digest}"] = image
        digest = f"{split_reference(name)[0]}@{image.digest}"
        if digest not in image.digests:
            image.digests.append(digest)
        if progress is not None:
            progress(Progress(image.id[7:19], "Pushed", image.size, image.size))
        self._host.tell("image", "push", fake_images.full(name), {"name": split_reference(name)[0]})
        return image.digest

    async def tag(self, name: str, new: str) -> None:
        await self._gate_image("tag", name, new)
        image = fake_images.find(self._host.images, name)
        fake_images.give(self._host.images, image, fake_images.full(new))
        self._host.tell("image", "tag", image.id, {"name": fake_images.full(new)})

    async def remove_image(self, name: str, *, force: bool = False) -> None:
        await self._gate_image("remove image", name)
        image = fake_images.find(self._host.images, name)
        users = [one.id for one in self._host.containers.values() if one.image is image]
        image, gone = fake_images.take(self._host.images, name, force, users)
        self._host.tell("image", "untag", image.id, {"name": image.id})
        if gone:
            self._host.tell("image", "delete", image.id, {"name": image.id})

    async def import_image(self, tar: Tar, name: str, *, changes: Sequence[str] = ()) -> str:
        await self._gate_image("import", name)
        image = fake_images.made(await fake_images.whole(tar), changes, self._clock.now())
        fake_images.give(self._host.images, image, fake_images.full(name))
        self._host.tell("image", "import", image.id, {"name": image.id})
        return image.id

    async def load(self, tar: Tar) -> Sequence[str]:
        await self._gate("load images")
        names: list[str] = []
        for image, tags in await asyncio.to_thread(fake_images.unpacked, await fake_images.whole(tar)):
            kept = self._host.images.setdefault(image.id, image)
            for name in tags:
                fake_images.give(self._host.images, kept, name)
            names += tags or [image.id]
            self._host.tell("image", "load", image.id, {"name": image.id})
        return names

    @contextlib.asynccontextmanager
    async def save(self, names: Sequence[str]) -> AsyncGenerator[AsyncIterator[bytes], None]:
        await self._gate_image("save", *names)
        data = fake_images.packed([fake_images.find(self._host.images, name) for name in names])

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield data

        async with contextlib.aclosing(pieces()) as found:
            yield found

    async def networks(self, *, filters: Filters | None = None) -> list[Json]:
        await self._gate("list networks")
        wanted = check_filters(filters, {"name", "id", "driver", "label"})
        return [one.shown() for one in self._host.networks.values() if _matches(one.shown(), wanted)]

    async def network(self, name: str) -> Json:
        await self._gate("inspect network", name)
        return find_network(self._host.networks, name).shown()

    async def create_network(self, config: Json) -> str:
        name = str(config.get("Name", ""))
        await self._gate("create network", name)
        if name in self._host.networks:
            raise Conflict(f"cannot create network {name}: network with name {name} already exists")
        network = self._host.networks[name] = FakeNetwork(self._host.number(), config, self._clock.now())
        self._host.tell("network", "create", network.id, {"name": name, "type": network.driver})
        return network.id

    async def remove_network(self, name: str) -> None:
        await self._gate("remove network", name)
        network = find_network(self._host.networks, name)
        fake_networks.check_removable(network)
        del self._host.networks[network.name]
        self._host.tell("network", "destroy", network.id, {"name": network.name, "type": network.driver})

    async def connect(self, network: str, container: str, *, aliases: Sequence[str] = ()) -> None:
        await self._gate("connect to network", network, container)
        found, member = find_network(self._host.networks, network), self._host.find(container)
        if found.name in member.networks:
            raise Conflict(f"cannot connect {container} to network {network}: endpoint with name {member.name} already exists")
        found.join(member, aliases)
        if member.running:
            self._host.plug(found, member)

    async def disconnect(self, network: str, container: str, *, force: bool = False) -> None:
        await self._gate("disconnect from network", network, container)
        found, member = find_network(self._host.networks, network), self._host.find(container)
        if found.name not in member.networks:
            raise RuntimeFailed(f"cannot disconnect: container {member.id} is not connected to network {network}")
        if member.running:
            self._host.unplug(found, member)
        del member.networks[found.name]

    async def volumes(self, *, filters: Filters | None = None) -> list[Json]:
        await self._gate("list volumes")
        wanted = check_filters(filters, {"name", "driver", "label", "dangling"})
        return [dict(one) for one in self._host.volumes.values() if _matches(one, wanted)]

    async def volume(self, name: str) -> Json:
        await self._gate("inspect volume", name)
        if name not in self._host.volumes:
            raise NotFound(f"cannot inspect volume {name}: no such volume")
        return dict(self._host.volumes[name])

    async def create_volume(self, config: Json) -> Json:
        name = str(config.get("Name") or "")
        await self._gate("create volume", *([name] if name else []))
        return dict(self._host.make_volume(config))

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        await self._gate("remove volume", name)
        if name not in self._host.volumes:
            if force:
                return
            raise NotFound(f"cannot remove volume {name}: no such volume")
        fake_networks.check_unused(name, list(self._host.containers.values()))
        del self._host.volumes[name]
        self._host.tell("volume", "destroy", name, {"driver": "local"})

    @contextlib.asynccontextmanager
    async def events(self, *, filters: Filters | None = None) -> AsyncGenerator[AsyncIterator[Change | Anew], None]:
        feed = Feed()
        try:
            wanted = check_filters(filters, EVENT_FILTERS)
        except InvalidInput as error:
            feed.end(error)
            wanted = {}
        feed.put(Anew("listening begins"))
        entry = (feed, wanted)
        self._host.feeds.append(entry)
        try:
            yield feed
        finally:
            self._host.feeds = [one for one in self._host.feeds if one is not entry]

    async def close(self) -> None:
        self._closed = True
        for feed, _ in self._host.feeds:
            feed.end()
        await self._host.end_all()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _gate(self, what: str, *names: str) -> None:
        """What every question passes: the names are names, the engine is there, and it takes its time."""
        for name in names:
            rule = bad_name(name)
            if rule:
                raise InvalidInput(rule)
        await self._pass(" ".join((what, *names[:1])))

    async def _gate_image(self, what: str, *names: str) -> None:
        for name in names:
            rule = bad_reference(name)
            if rule:
                raise InvalidInput(rule)
        await self._pass(" ".join((what, *names[:1])))

    async def _pass(self, what: str) -> None:
        if self._closed:
            raise DockerUnavailable(f"cannot {what}: this client of the Docker Engine is closed")
        self._host.check(what)
        await asyncio.sleep(0)
        if self.latency:
            await self._clock.sleep(self.latency)
        self._host.check(what)

    def _registry(self, name: str) -> tuple[str, FakeRegistry]:
        host = name.partition("/")[0]
        if host not in self._registries:
            raise RuntimeFailed(f"cannot reach the registry of {name}: dial tcp: lookup {host}: no such host")
        return host, self._registries[host]


def _matches(shown: Json, filters: Filters) -> bool:
    """Whether a network or volume, as it is shown, passes."""
    for name, values in filters.items():
        if name == "label" and not labelled(shown["Labels"], values):
            return False
        key = {"name": "Name", "id": "Id", "driver": "Driver"}.get(name)
        if key is not None and not any(value in shown[key] for value in values):
            return False
    return True
