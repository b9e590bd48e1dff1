"""The DockerEngine contract as a test suite: `docker/base.py`, sentence by sentence. The client on real engines and the fake pass it.

To run it, subclass `DockerContract` in a test file (its name must begin with `Test`) and give the fixtures `engine` (with the image IMAGE,
made by `prepare`), `registry` (HOST:PORT of one that is open, as the engine reaches it) and `guarded` (one that wants AUTH). The engine
may be used by earlier tests: each keeps to names of its own. Time is real; waits have deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from argosy.docker.base import Anew, Auth, Change, DockerEngine, Filters, Json, Output, Progress
from argosy.errors import ArgosyError, Conflict, DockerUnavailable, InvalidInput, NotFound, Refused, RuntimeFailed

IMAGE = "argosy/tiny"
AUTH = Auth(username="alice", password="a wonderland")
DEADLINE = 15.0
FOREVER = ["sleep", "98760"]
QUICK: Json = {"Init": True}
"""With an init a container heeds SIGTERM, so that tests need not wait for SIGKILL."""


async def prepare(engine: DockerEngine, tar: bytes) -> None:
    await engine.import_image(tar, IMAGE, changes=['CMD ["sleep", "98760"]', "ENV SHIP=argosy", "LABEL kind=tiny"])


def named(what: str = "c") -> str:
    return f"{what}-{uuid.uuid4().hex[:8]}"


class Heard:
    """Changes that are read by a task."""

    def __init__(self) -> None:
        self.items: list[Change | Anew] = []
        self._news = asyncio.Event()

    @property
    def changes(self) -> list[Change]:
        return [item for item in self.items if isinstance(item, Change)]

    def actions(self, id: str) -> list[str]:
        return [change.action for change in self.changes if change.id == id]

    async def read(self, stream: AsyncIterator[Change | Anew]) -> None:
        async for item in stream:
            self.items.append(item)
            self._news.set()

    async def until(self, met: Callable[[Heard], bool], deadline: float = DEADLINE) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while not met(self):
                    self._news.clear()
                    await self._news.wait()
        assert met(self), f"heard only {self.items[-8:]}"


@contextlib.asynccontextmanager
async def hearing(engine: DockerEngine, filters: Filters | None = None) -> AsyncIterator[Heard]:
    """Listens; has heard the first Anew when it begins."""
    heard = Heard()
    async with engine.events(filters=filters) as stream:
        task = asyncio.create_task(heard.read(stream))
        try:
            await heard.until(lambda heard: bool(heard.items))
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def run(engine: DockerEngine, argv: list[str] | None = None, **more: object) -> str:
    """A started container; its name."""
    name = named()
    host: Json = {**QUICK, **(more.pop("HostConfig", None) or {})}  # type: ignore[dict-item]
    await engine.create({"Image": IMAGE, "Cmd": argv or FOREVER, "HostConfig": host, **more}, name=name)
    await engine.start(name)
    return name


def text(outputs: list[Output], stream: str) -> bytes:
    return b"".join(one.data for one in outputs if one.stream == stream)


async def read_logs(engine: DockerEngine, name: str, *, follow: bool = False, last: int | None = None, since: int = 0) -> list[Output]:
    async with asyncio.timeout(DEADLINE), engine.logs(name, follow=follow, last=last, since=since) as outputs:
        return [one async for one in outputs]


def garbage() -> bytes:
    return b"this is no tar" * 100


class DockerContract:
    """The suite."""

    # The engine

    async def test_it_says_what_it_is_and_which_api_is_spoken(self, engine: DockerEngine) -> None:
        version = await engine.version()
        assert version.os == "linux"
        major, minor = map(int, version.api.split("."))
        assert major == 1
        assert 40 <= minor <= int(version.engine_api.split(".")[1])
        info = await engine.info()
        assert info["OSType"] == "linux"
        assert info["NCPU"] >= 1

    # Containers

    async def test_a_container_is_created_started_seen_stopped_and_removed(self, engine: DockerEngine) -> None:
        name = named()
        made = await engine.create({"Image": IMAGE, "Cmd": FOREVER, "Labels": {"a": "b"}, "Env": ["X=1"], "HostConfig": QUICK}, name=name)
        seen = await engine.container(name)
        assert (seen["Id"], seen["Name"], seen["State"]["Status"]) == (made, f"/{name}", "created")
        assert seen["Config"]["Labels"]["a"] == "b"
        assert {"X=1", "SHIP=argosy"} <= set(seen["Config"]["Env"])
        await engine.start(name)
        assert (await engine.container(made))["State"]["Running"] is True
        await engine.stop(name, grace=5)
        state = (await engine.container(made[:12]))["State"]
        assert (state["Status"], state["Running"], state["ExitCode"]) == ("exited", False, 143)
        await engine.remove(name)
        with pytest.raises(NotFound, match=name):
            await engine.container(name)

    async def test_a_name_is_given_once(self, engine: DockerEngine) -> None:
        name = named()
        await engine.create({"Image": IMAGE}, name=name)
        with pytest.raises(Conflict, match=name):
            await engine.create({"Image": IMAGE}, name=name)

    async def test_an_image_that_is_not_there_makes_no_container(self, engine: DockerEngine) -> None:
        with pytest.raises(NotFound, match="nobody/nothing"):
            await engine.create({"Image": "nobody/nothing:1"}, name=named())

    async def test_one_that_runs_is_not_started_again_and_one_that_does_not_is_not_stopped(self, engine: DockerEngine) -> None:
        name = await run(engine)
        started = (await engine.container(name))["State"]["StartedAt"]
        await engine.start(name)
        assert (await engine.container(name))["State"]["StartedAt"] == started
        await engine.stop(name, grace=5)
        await engine.stop(name, grace=5)
        assert (await engine.container(name))["State"]["Status"] == "exited"

    async def test_one_that_ignores_its_stop_signal_is_killed_after_its_grace(self, engine: DockerEngine) -> None:
        name = await run(engine, HostConfig={"Init": False})
        await engine.stop(name, grace=0)
        assert (await engine.container(name))["State"]["ExitCode"] == 137

    async def test_signals_reach_it(self, engine: DockerEngine) -> None:
        name = await run(engine)
        await engine.kill(name, "SIGINT")
        async with asyncio.timeout(DEADLINE):
            assert await engine.wait(name) == 130
        with pytest.raises(Conflict, match="not running"):
            await engine.kill(name)
        with pytest.raises(ArgosyError):
            await engine.kill(await run(engine), "SIGNOTHING")

    async def test_the_end_of_a_program_is_waited_for_and_its_code_told(self, engine: DockerEngine) -> None:
        name = named()
        await engine.create({"Image": IMAGE, "Cmd": ["sh", "-c", "sleep 0.3; exit 7"]}, name=name)
        await engine.start(name)
        async with asyncio.timeout(DEADLINE):
            assert list(await asyncio.gather(engine.wait(name), engine.wait(name))) == [7, 7]
            assert await engine.wait(name) == 7

    async def test_one_that_runs_is_removed_only_by_force(self, engine: DockerEngine) -> None:
        name = await run(engine)
        with pytest.raises(Conflict, match="running"):
            await engine.remove(name)
        await engine.remove(name, force=True)
        with pytest.raises(NotFound):
            await engine.remove(name)

    async def test_lists_are_of_the_running_or_of_all_and_filtered(self, engine: DockerEngine) -> None:
        mark = named("mark")
        up = await run(engine, Labels={"mark": mark, "side": "left"})
        down = named()
        await engine.create({"Image": IMAGE, "Labels": {"mark": mark, "side": "right"}}, name=down)
        marked = {"label": [f"mark={mark}"]}
        assert [one["Names"] for one in await engine.containers(filters=marked)] == [[f"/{up}"]]
        assert {one["Names"][0] for one in await engine.containers(all=True, filters=marked)} == {f"/{up}", f"/{down}"}
        assert await engine.containers(filters={"label": [f"mark={mark}", "side=right"]}) == []
        assert [one["State"] for one in await engine.containers(all=True, filters={"name": [down]})] == ["created"]
        assert [one["Names"] for one in await engine.containers(filters={**marked, "status": ["created"]})] == [[f"/{down}"]]
        with pytest.raises(InvalidInput, match="nonsense"):
            await engine.containers(filters={"nonsense": ["1"]})

    async def test_a_program_that_is_not_in_the_image_says_so(self, engine: DockerEngine) -> None:
        name = named()
        await engine.create({"Image": IMAGE, "Cmd": ["no-such-program"]}, name=name)
        with pytest.raises((InvalidInput, NotFound, RuntimeFailed), match="no-such-program"):
            await engine.start(name)
        assert (await engine.container(name))["State"]["Running"] is False

    @pytest.mark.parametrize("name", ["", "../images/json", "a b", "a?force=1", "a/b", "é", "-x", "a\nb", "x" * 300])
    async def test_what_is_no_name_reaches_no_engine(self, engine: DockerEngine, name: str) -> None:
        for question in (engine.container, engine.start, engine.remove, engine.network, engine.volume, engine.wait):
            with pytest.raises(InvalidInput, match="is no name"):
                await question(name)

    async def test_a_restart_policy_starts_it_again(self, engine: DockerEngine) -> None:
        async with hearing(engine) as heard:
            policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}
            name = await run(engine, ["sh", "-c", "exit 4"], HostConfig=policy)
            id = (await engine.container(name))["Id"]
            await heard.until(lambda heard: heard.actions(id).count("die") == 3)
        assert heard.actions(id).count("start") == 3

    # What they write, and programs run in them

    async def test_what_it_wrote_is_read_by_stream(self, engine: DockerEngine) -> None:
        name = await run(engine, ["sh", "-c", "echo one; echo two >&2; echo three"])
        await engine.wait(name)
        outputs = await read_logs(engine, name)
        assert text(outputs, "stdout") == b"one\nthree\n"
        assert text(outputs, "stderr") == b"two\n"
        assert await read_logs(engine, name, since=4_000_000_000) == []

    async def test_the_last_lines_are_read_alone(self, engine: DockerEngine) -> None:
        name = await run(engine, ["sh", "-c", "echo one; echo two; echo three"])
        await engine.wait(name)
        assert text(await read_logs(engine, name, last=2), "stdout") == b"two\nthree\n"
        assert await read_logs(engine, name, last=0) == []

    async def test_following_ends_with_the_container(self, engine: DockerEngine) -> None:
        name = await run(engine, ["sh", "-c", "echo one; sleep 0.3; echo two"])
        assert text(await read_logs(engine, name, follow=True), "stdout") == b"one\ntwo\n"

    async def test_a_terminal_has_one_stream(self, engine: DockerEngine) -> None:
        name = await run(engine, ["sh", "-c", "echo one; echo two >&2"], Tty=True)
        await engine.wait(name)
        outputs = await read_logs(engine, name)
        assert {one.stream for one in outputs} == {"stdout"}
        assert text(outputs, "stdout").split() == [b"one", b"two"]

    async def test_a_program_is_run_inside_with_input_and_environment(self, engine: DockerEngine) -> None:
        name = await run(engine)
        done = await engine.execute(name, ["sh", "-c", "echo $SHIP $CREW; echo oops >&2; exit 5"], environ={"CREW": "50"})
        assert (done.code, done.stdout, done.stderr) == (5, b"argosy 50\n", b"oops\n")
        big = bytes(range(256)) * 2000
        assert (await engine.execute(name, ["cat"], stdin=big)).stdout == big
        assert (await engine.execute(name, ["true"], stdin=big)).code == 0
        assert (await engine.execute(name, ["no-such-program"])).code in (126, 127)

    async def test_nothing_is_run_inside_one_that_does_not_run(self, engine: DockerEngine) -> None:
        name = named()
        await engine.create({"Image": IMAGE}, name=name)
        with pytest.raises(Conflict):
            await engine.execute(name, ["true"])
        with pytest.raises(NotFound):
            await engine.execute("nobody", ["true"])

    async def test_a_reader_may_leave_at_any_time(self, engine: DockerEngine) -> None:
        name = await run(engine, ["sh", "-c", "echo one; sleep 98761"])
        async with asyncio.timeout(DEADLINE), engine.logs(name, follow=True) as outputs:
            async for one in outputs:
                assert one.data == b"one\n"
                break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await engine.wait(name)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await engine.execute(name, ["sleep", "2"])
        assert (await engine.container(name))["State"]["Running"] is True

    # Images

    async def test_an_image_is_imported_seen_tagged_and_removed(self, engine: DockerEngine) -> None:
        seen = await engine.image(IMAGE)
        assert (seen["Config"]["Cmd"], seen["Config"]["Labels"]["kind"]) == (FOREVER, "tiny")
        other = named("image")
        await engine.tag(IMAGE, f"{other}:1")
        assert (await engine.image(f"{other}:1"))["Id"] == seen["Id"]
        assert any(f"{other}:1" in (one["RepoTags"] or []) for one in await engine.images())
        listed = await engine.images(filters={"reference": [f"{other}:1"]})
        assert [one["Id"] for one in listed] == [seen["Id"]]
        await engine.remove_image(f"{other}:1")
        with pytest.raises(NotFound):
            await engine.image(f"{other}:1")
        assert (await engine.image(seen["Id"]))["Id"] == seen["Id"]
        with pytest.raises(NotFound):
            await engine.tag("nobody/nothing", "x:1")
        with pytest.raises(NotFound):
            await engine.remove_image("nobody/nothing")

    async def test_an_image_that_a_container_uses_is_not_removed(self, engine: DockerEngine) -> None:
        name = named("image")
        await engine.import_image(tiny_tar(), name)
        await engine.create({"Image": name, "Cmd": ["x"]}, name=named())
        with pytest.raises(Conflict, match="container"):
            await engine.remove_image(name)

    @pytest.mark.parametrize("name", ["", "a b", "../json", "a//b", "a/../b", "a?x=1", "a#b", "-a", "a\n"])
    async def test_what_is_no_image_name_reaches_no_engine(self, engine: DockerEngine, name: str) -> None:
        for question in (engine.image, engine.pull, engine.push, engine.remove_image):
            with pytest.raises(InvalidInput, match="is no image"):
                await question(name)

    async def test_images_are_saved_and_loaded(self, engine: DockerEngine) -> None:
        name = named("image") + ":v1"
        made = await engine.import_image(tiny_tar(), name, changes=["ENV A=b"])
        async with engine.save([name]) as pieces:
            data = b"".join([piece async for piece in pieces])
        await engine.remove_image(name)
        assert any(name in loaded for loaded in await engine.load(data))
        seen = await engine.image(name)
        assert (seen["Id"], "A=b" in seen["Config"]["Env"]) == (made, True)

        async def piecewise() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 65536):
                yield data[start : start + 65536]

        assert any(name in loaded for loaded in await engine.load(piecewise()))

    async def test_what_is_no_tar_is_refused(self, engine: DockerEngine) -> None:
        with pytest.raises((InvalidInput, RuntimeFailed), match="tar"):
            await engine.load(garbage())
        with pytest.raises((InvalidInput, RuntimeFailed), match="tar"):
            await engine.import_image(garbage(), named("image"))

    async def test_an_image_is_pushed_removed_and_pulled(self, engine: DockerEngine, registry: str) -> None:
        name = f"{registry}/{named('app')}"
        made = await engine.import_image(tiny_tar(), f"{name}:1", changes=["ENV A=b"])
        steps: list[Progress] = []
        digest = await engine.push(f"{name}:1", progress=steps.append)
        assert digest.startswith("sha256:")
        assert steps
        await engine.remove_image(f"{name}:1", force=True)
        steps.clear()
        assert await engine.pull(f"{name}:1", progress=steps.append) == made
        assert steps
        assert "A=b" in (await engine.image(f"{name}:1"))["Config"]["Env"]
        assert await engine.pull(f"{name}@{digest}") == made

    async def test_a_name_without_tag_means_latest(self, engine: DockerEngine, registry: str) -> None:
        name = f"{registry}/{named('app')}"
        for tag in ("latest", "other"):
            await engine.import_image(tiny_tar(), f"{name}:{tag}", changes=[f"ENV TAG={tag}"])
        await engine.push(name)
        with pytest.raises(NotFound):
            await engine.pull(f"{name}:other")
        await engine.remove_image(name, force=True)
        await engine.pull(name)
        assert "TAG=latest" in (await engine.image(name))["Config"]["Env"]

    async def test_what_a_registry_has_not_is_not_found(self, engine: DockerEngine, registry: str) -> None:
        with pytest.raises(NotFound, match="nothing"):
            await engine.pull(f"{registry}/nothing:1")
        with pytest.raises((NotFound, RuntimeFailed)):
            await engine.push(f"{registry}/nothing:1")

    async def test_a_registry_that_is_not_there_is_an_error(self, engine: DockerEngine) -> None:
        with pytest.raises(RuntimeFailed):
            await engine.pull("127.0.0.1:9/nothing:1")

    async def test_a_guarded_registry_wants_credentials(self, engine: DockerEngine, guarded: str) -> None:
        name = f"{guarded}/{named('app')}:1"
        await engine.import_image(tiny_tar(), name)
        with pytest.raises(Refused):
            await engine.push(name)
        with pytest.raises(Refused):
            await engine.push(name, auth=Auth("alice", "wrong"))
        await engine.push(name, auth=AUTH)
        await engine.remove_image(name, force=True)
        with pytest.raises(Refused):
            await engine.pull(name)
        assert await engine.pull(name, auth=AUTH)

    # Networks and volumes

    async def test_a_network_is_made_used_and_removed(self, engine: DockerEngine) -> None:
        network = named("net")
        id = await engine.create_network({"Name": network, "Labels": {"net": network}})
        with pytest.raises(Conflict):
            await engine.create_network({"Name": network})
        assert (await engine.network(id))["Name"] == network
        assert [one["Id"] for one in await engine.networks(filters={"label": [f"net={network}"]})] == [id]
        name = await run(engine)
        await engine.connect(network, name, aliases=["alias"])
        seen = await engine.container(name)
        endpoint = seen["NetworkSettings"]["Networks"][network]
        assert endpoint["IPAddress"]
        assert "alias" in endpoint["Aliases"]
        assert seen["Id"] in (await engine.network(network))["Containers"]
        with pytest.raises((Refused, Conflict), match=r"active endpoints|in use"):
            await engine.remove_network(network)
        await engine.disconnect(network, name)
        assert network not in (await engine.container(name))["NetworkSettings"]["Networks"]
        await engine.remove_network(network)
        with pytest.raises(NotFound):
            await engine.network(network)
        with pytest.raises(NotFound):
            await engine.connect(network, name)

    async def test_ports_are_published(self, engine: DockerEngine) -> None:
        publish: Json = {
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
        }
        name = await run(engine, **publish)
        (bound,) = (await engine.container(name))["NetworkSettings"]["Ports"]["80/tcp"]
        assert bound["HostIp"] == "127.0.0.1"
        assert int(bound["HostPort"]) > 1024
        await engine.stop(name, grace=5)
        assert not (await engine.container(name))["NetworkSettings"]["Ports"].get("80/tcp")

    async def test_the_engine_keeps_its_own_networks(self, engine: DockerEngine) -> None:
        assert {"host", "none"} <= {one["Name"] for one in await engine.networks()}
        with pytest.raises((Refused, Conflict)):
            await engine.remove_network("host")

    async def test_a_volume_is_made_used_and_removed(self, engine: DockerEngine) -> None:
        volume = named("vol")
        made = await engine.create_volume({"Name": volume, "Labels": {"vol": volume}})
        assert (made["Name"], made["Driver"], made["Labels"]["vol"]) == (volume, "local", volume)
        assert (await engine.create_volume({"Name": volume}))["Labels"]["vol"] == volume
        assert (await engine.volume(volume))["Mountpoint"]
        assert [one["Name"] for one in await engine.volumes(filters={"label": [f"vol={volume}"]})] == [volume]
        name = await run(engine, HostConfig={"Binds": [f"{volume}:/data"]})
        (mount,) = (await engine.container(name))["Mounts"]
        assert (mount["Type"], mount["Name"], mount["Destination"]) == ("volume", volume, "/data")
        with pytest.raises(Conflict, match="in use"):
            await engine.remove_volume(volume)
        await engine.remove(name, force=True)
        await engine.remove_volume(volume)
        with pytest.raises(NotFound):
            await engine.volume(volume)
        with pytest.raises(NotFound):
            await engine.remove_volume(volume)
        await engine.remove_volume(volume, force=True)

    async def test_anonymous_volumes_go_with_their_container_if_told(self, engine: DockerEngine) -> None:
        name = await run(engine, Volumes={"/data": {}})
        (mount,) = (await engine.container(name))["Mounts"]
        await engine.remove(name, force=True, volumes=True)
        with pytest.raises(NotFound):
            await engine.volume(mount["Name"])

    # Changes

    async def test_changes_are_told_in_order_and_once(self, engine: DockerEngine) -> None:
        async with hearing(engine) as heard:
            assert isinstance(heard.items[0], Anew)
            name = await run(engine, ["sh", "-c", "exit 3"], Labels={"mark": "x"})
            id = (await engine.container(name))["Id"]
            await engine.wait(name)
            await engine.remove(name)
            await heard.until(lambda heard: "destroy" in heard.actions(id))
            assert heard.actions(id) == ["create", "start", "die", "destroy"]
            die = next(change for change in heard.changes if change.id == id and change.action == "die")
            assert (die.kind, die.attributes["exitCode"], die.attributes["name"], die.attributes["mark"]) == ("container", "3", name, "x")
            times = [change.time for change in heard.changes]
            assert times == sorted(times)
            assert len([item for item in heard.items if isinstance(item, Anew)]) == 1

    async def test_nothing_that_happened_before_is_told(self, engine: DockerEngine) -> None:
        name = await run(engine, ["true"])
        id = (await engine.container(name))["Id"]
        await engine.wait(name)
        await engine.remove(name)
        async with hearing(engine) as heard:
            other = await engine.create({"Image": IMAGE}, name=named())
            await heard.until(lambda heard: bool(heard.actions(other)))
            assert heard.actions(id) == []

    async def test_changes_are_filtered(self, engine: DockerEngine) -> None:
        mark = named("mark")
        async with hearing(engine, {"type": ["container"], "label": [f"mark={mark}"], "event": ["start", "die"]}) as heard:
            await run(engine, ["true"])
            name = await run(engine, ["true"], Labels={"mark": mark})
            await heard.until(lambda heard: len(heard.changes) >= 2)
            assert [(change.action, change.attributes["name"]) for change in heard.changes] == [("start", name), ("die", name)]

    async def test_every_listener_hears_everything(self, engine: DockerEngine) -> None:
        async with hearing(engine) as one, hearing(engine) as other:
            ids = [await engine.create({"Image": IMAGE}, name=named()) for _ in range(20)]
            for heard in (one, other):
                await heard.until(lambda heard: len([change for change in heard.changes if change.action == "create"]) >= 20)
                assert [change.id for change in heard.changes if change.action == "create"] == ids

    async def test_networks_volumes_and_images_change_too(self, engine: DockerEngine) -> None:
        network, volume, image = named("net"), named("vol"), named("image")
        async with hearing(engine) as heard:
            await engine.create_network({"Name": network})
            await engine.create_volume({"Name": volume})
            await engine.import_image(tiny_tar(), image)
            await engine.remove_image(image)
            await engine.remove_volume(volume)
            await engine.remove_network(network)
            await heard.until(lambda heard: any((c.kind, c.action) == ("network", "destroy") for c in heard.changes))
            seen = {(change.kind, change.action) for change in heard.changes}
            wanted = {("network", "create"), ("volume", "create"), ("image", "import"), ("image", "delete"), ("volume", "destroy")}
            assert wanted <= seen

    async def test_a_closed_client_answers_nothing_and_ends_its_streams(self, engine: DockerEngine) -> None:
        async with engine.events() as stream:
            assert isinstance(await anext(stream), Anew)
            await engine.close()
            await engine.close()
            async with asyncio.timeout(DEADLINE):
                assert [item async for item in stream if isinstance(item, Anew)] == []
        with pytest.raises(DockerUnavailable, match="closed"):
            await engine.containers()


def tiny_tar() -> bytes:
    """The root of an image that is never run; each one is another."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        content = uuid.uuid4().bytes
        entry = tarfile.TarInfo("unique")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
