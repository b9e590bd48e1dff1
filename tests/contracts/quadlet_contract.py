"""What a Quadlet file promises, on a real engine and a real runtime. Every pair of them passes all of it.

Subclass `QuadletContract` in a test file and give the fixture `ground`, see `QuadletGround`. The image `argosy.test/tools` holds a shell
and a few programs (argosy.lab.rootfs).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from argosy.agent.containers import Containers
from argosy.errors import RuntimeFailed
from argosy.model import Observed
from argosy.unit.parse import parse
from tests.contracts.runtime_ground import DEADLINE, Ground, is_running

IMAGE = "argosy.test/tools"
WAITING = "Exec=sh -c \"trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done\""
"""A container that ends with 7 when it is told to."""


def _done(launch: int, seen: Observed) -> bool:
    return seen.launch == launch and seen.active == "inactive" and seen.result == "success"


def container(*lines: str, service: Sequence[str] = ()) -> str:
    return "\n".join(["[Container]", f"Image={IMAGE}", "Network=none", *lines, "[Service]", "TimeoutStartSec=60", *service, ""])


@dataclass
class QuadletGround(Ground):
    """`engine` is the command that speaks to the engine, with `environ` laid over the process's own."""

    containers: Containers = field(default_factory=lambda: Containers("auto", "supervisor"))
    engine: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)

    async def load(self, **texts: str) -> list[str]:
        units = [(self.name(short), self.fill(text)) for short, text in texts.items()]
        services, refused = await self.containers.services(units, dict(units))
        if services:
            await self.runtime.load(services)
        if refused:
            raise RuntimeFailed("; ".join(refused.values()), refused=refused)
        return [name for name, _ in units]

    async def ask(self, *words: str) -> tuple[int, str]:
        """The exit status and the output of the engine's client."""
        process = await asyncio.create_subprocess_exec(
            *self.engine,
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self.environ},
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode().strip()

    async def shows(self, name: str, what: str) -> str:
        """A field of the unit's container, "" if there is none."""
        status, said = await self.ask("container", "inspect", "-f", what, self.container_of(name))
        return said if status == 0 else ""

    def container_of(self, name: str) -> str:
        return f"systemd-{name.rpartition('.')[0].replace('@', '_')}"

    async def gone(self, name: str) -> None:
        end = time.monotonic() + DEADLINE
        while await self.shows(name, "{{.State.Status}}"):
            assert time.monotonic() < end, f"the container of {name} is still there: {await self.lines(name)}"
            await asyncio.sleep(0.1)

    async def lines(self, name: str) -> list[str]:
        return [line.text async for line in self.runtime.logs(name, 1000, False)]

    async def says(self, name: str, text: str) -> None:
        """Returns when the unit's log holds the text."""
        end = time.monotonic() + DEADLINE
        while not any(text in line for line in await self.lines(name)):
            assert time.monotonic() < end, f"{name} did not say {text!r}: {await self.lines(name)}"
            await asyncio.sleep(0.05)


class QuadletContract:
    """Needs the fixture `ground`: a QuadletGround."""

    async def test_a_container_runs_says_something_and_is_stopped_by_its_signal(self, ground: QuadletGround) -> None:
        text = container(WAITING, "Environment=GREETING='good day'", service=["SuccessExitStatus=7"])
        name = await ground.run(text)
        seen = await ground.running(name)
        assert await ground.shows(name, "{{.State.Status}}") == "running"
        assert seen.hash == parse(ground.fill(text)).hash
        await ground.says(name, "ready")
        await ground.runtime.stop([name])
        ended = await ground.ended(name)
        assert (ended.active, ended.result, ended.code) == ("inactive", "success", 7)
        await ground.gone(name)

    async def test_the_exit_status_of_a_container_is_the_units(self, ground: QuadletGround) -> None:
        name = await ground.run(container("Exec=sh -c 'exit 9'"))
        ended = await ground.ended(name)
        assert (ended.active, ended.result, ended.code) == ("failed", "exit-code", 9)
        await ground.gone(name)

    async def test_an_image_that_is_not_there_fails_the_start(self, ground: QuadletGround) -> None:
        name = await ground.run("[Container]\nImage=argosy.test/nothing\nPull=never\nNetwork=none\n")
        assert (await ground.ended(name)).active == "failed"
        assert any("nothing" in line for line in await ground.lines(name))

    async def test_a_container_left_over_does_not_prevent_the_next_start(self, ground: QuadletGround) -> None:
        (name,) = await ground.load(app=container(WAITING))
        status, _ = await ground.ask("create", "--name", ground.container_of(name), IMAGE, "true")
        assert status == 0
        await ground.runtime.start([(name, 1)])
        await ground.running(name)
        await ground.says(name, "ready")

    async def test_a_container_whose_id_begins_with_the_units_name_is_left_alone(self, ground: QuadletGround) -> None:
        status, other = await ground.ask("run", "-d", "--network=none", IMAGE, "sleep", "1000")
        assert status == 0
        try:
            own = other[:12]
            name = await ground.run(container(f"ContainerName={own}", WAITING, service=["SuccessExitStatus=7"]))
            await ground.running(name)
            await ground.says(name, "ready")
            await ground.runtime.stop([name])
            assert (await ground.ended(name)).code == 7
            assert (await ground.ask("container", "inspect", "-f", "{{.State.Status}}", other))[1] == "running"
            assert (await ground.ask("container", "ls", "-aq", "--filter", f"name=^{own}$"))[1] == ""
        finally:
            await ground.ask("kill", other)
            await ground.ask("rm", "-f", other)

    async def test_killing_the_unit_ends_its_container(self, ground: QuadletGround) -> None:
        name = await ground.run(container("Exec=sleep 1000"))
        await ground.running(name)
        await ground.runtime.kill([name])
        await ground.ended(name)
        await ground.gone(name)

    async def test_a_killed_client_is_restarted_and_so_is_its_container(self, ground: QuadletGround) -> None:
        name = await ground.run(container("Exec=sleep 1000", service=["Restart=always", "RestartSec=0"]))
        before = await ground.running(name)
        first = await ground.shows(name, "{{.Id}}")
        os.kill(before.pid, signal.SIGKILL)
        await ground.until(name, lambda seen: is_running(seen) and seen.pid != before.pid, "running anew")
        assert await ground.shows(name, "{{.Id}}") not in ("", first)

    async def test_what_the_file_says_is_what_the_container_gets(self, ground: QuadletGround) -> None:
        script = 'echo "<$$GREETING> <$$EMPTY> <$$0> <$$(id -u)>"; touch /tmp/x && echo written; touch /x || echo refused; ls /data'
        (ground.scratch / "data").mkdir()
        (ground.scratch / "data" / "seen").touch()
        text = container(
            f"Exec=sh -c '{script}' \"a 'b' %i %%i\"",
            'Environment="GREETING=it\'s 100%% good" EMPTY=',
            "User=65534",
            "ReadOnly=yes",
            "Volume=@dir@/data:/data:ro",
            'Label=a=b "c=d e"',
            "HostName=named",
            "StopTimeout=1",
            "Ulimit=nofile=100:200",
            "Ulimit=nproc=1000:2000",
            "AddCapability=NET_BIND_SERVICE",
            "DropCapability=ALL",
            service=["Type=oneshot"],
        )
        (name,) = await ground.load(**{"app@one.service": text})
        await ground.runtime.start([(name, 1)])
        ended = await ground.ended(name)
        lines = await ground.lines(name)
        assert ended.code == 0, lines
        assert "<it's 100% good> <> <a 'b' one %i> <65534>" in lines
        assert [line for line in lines if line in ("written", "refused", "seen")] == ["written", "refused", "seen"]

    async def test_a_container_that_does_not_heed_is_killed_when_its_time_is_over(self, ground: QuadletGround) -> None:
        name = await ground.run(container("Exec=sh -c \"trap '' TERM; echo deaf; while :; do sleep 0.1; done\"", "StopTimeout=1"))
        await ground.running(name)  # a stop before that is a signal to the client only, as systemd has it
        await ground.says(name, "deaf")
        begun = time.monotonic()
        await ground.runtime.stop([name])
        await ground.ended(name)
        assert 0.8 < time.monotonic() - begun < 10
        await ground.gone(name)

    async def test_it_counts_as_started_when_its_health_check_passes(self, ground: QuadletGround) -> None:
        text = container(
            "Exec=sh -c 'sleep 1; touch /tmp/well; sleep 1000'", "HealthCmd=ls /tmp/well", "HealthInterval=1s", "Notify=healthy"
        )
        name = await ground.run(text)
        await ground.until(name, lambda seen: seen.active == "activating", "activating")
        begun = time.monotonic()
        await ground.running(name)
        assert time.monotonic() - begun > 0.5

    @pytest.mark.parametrize("lines", [(), ("HealthCmd=true", "Notify=healthy")], ids=["started", "healthy"])
    async def test_a_container_that_cannot_start_fails_at_once(self, ground: QuadletGround, lines: tuple[str, ...]) -> None:
        begun = time.monotonic()
        name = await ground.run(container("Exec=/no/such/program", *lines, service=["Restart=no"]))
        ended = await ground.ended(name)
        assert (ended.active, ended.result) == ("failed", "exit-code")
        assert time.monotonic() - begun < 30  # half of TimeoutStartSec=
        await ground.gone(name)

    async def test_volumes_and_networks_are_made_once_and_used(self, ground: QuadletGround) -> None:
        volume = ground.name("data-volume")
        own = f"systemd-{volume.removesuffix('-volume.service')}"
        user = container(
            f"Volume={volume.removesuffix('-volume.service')}.volume:/data",
            "Exec=sh -c 'echo x >>/data/log; cat /data/log'",
            service=["Type=oneshot"],
        )
        names = await ground.load(**{"data-volume.service": "[Volume]\nLabel=made=here\n", "app": user})
        try:
            for launch in (1, 2):
                await ground.runtime.start([(names[0], launch), (names[1], launch)])
                await ground.until(names[1], partial(_done, launch), "done")
            assert (await ground.lines(names[1])).count("x") == 3
            assert (await ground.see(names[0])).sub == "exited"
            assert (await ground.ask("volume", "inspect", "-f", "{{.Labels.made}}", own))[1] == "here"
        finally:
            await ground.runtime.unload(names)
            await ground.ask("volume", "rm", own)

    async def test_template_volume_is_one_for_each_instance(self, ground: QuadletGround) -> None:
        stem = ground.name("data").removesuffix(".service")
        user = container(f"Volume={stem}@.volume:/data", "Exec=sh -c 'echo %i >>/data/log; cat /data/log'", service=["Type=oneshot"])
        volumes = {f"data-volume@{instance}.service": "[Volume]\n" for instance in "12"}
        names = await ground.load(**volumes, **{f"app@{instance}.service": user for instance in "12"})
        try:
            await ground.runtime.start([(name, 1) for name in names])
            for name, instance in zip(names[2:], "12", strict=True):
                await ground.until(name, partial(_done, 1), "done")
                assert (await ground.lines(name)).count(instance) == 1
            assert [(await ground.ask("volume", "inspect", f"systemd-{stem}-{instance}"))[0] for instance in "12"] == [0, 0]
        finally:
            await ground.runtime.unload(names)
            await ground.ask("volume", "rm", *(f"systemd-{stem}-{instance}" for instance in "12"))

    async def test_a_volume_whose_name_goes_on_is_another_one(self, ground: QuadletGround) -> None:
        volume = ground.name("data-volume")
        own = f"systemd-{volume.removesuffix('-volume.service')}"
        assert (await ground.ask("volume", "create", f"{own}2"))[0] == 0
        try:
            (name,) = await ground.load(**{"data-volume.service": "[Volume]\nLabel=made=here\n"})
            await ground.runtime.start([(name, 1)])
            await ground.until(name, lambda seen: seen.sub == "exited", "made")
            assert (await ground.ask("volume", "ls", "--filter", "label=made=here", "-q"))[1].split().count(own) == 1
            await ground.runtime.unload([name])
        finally:
            await ground.ask("volume", "rm", own, f"{own}2")

    async def test_a_volume_that_is_not_here_is_named(self, ground: QuadletGround) -> None:
        with pytest.raises(RuntimeFailed, match=r"absent-volume\.service"):
            await ground.load(app=container("Volume=absent.volume:/data"))
