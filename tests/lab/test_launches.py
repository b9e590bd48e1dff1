"""What start, stop and failure mean on machines of both kinds: the program as a person runs it, systemd and the supervisor as they are."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from argosy.install import program
from argosy.lab.lab import Lab
from tests.lab.cluster import Cluster, whole
from tests.lab.conftest import raised

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

PATIENCE = 40.0
SLEEPER = "[Service]\nExecStart=/bin/sleep 1000\n"

on_systemd = pytest.mark.parametrize("one", ["nspawn"], indirect=True)
on_both = pytest.mark.parametrize("one", ["nspawn", "process"], indirect=True)


@pytest.fixture(scope="module")
def one(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """One machine of a kind."""
    yield from raised(request.param, machines=1, entry="")


@pytest_asyncio.fixture
async def cluster(one: Lab) -> AsyncIterator[Cluster]:
    async with whole(one) as standing:
        yield standing


class Person:
    """Somebody with a folder of unit files."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder

    def write(self, **texts: str) -> None:
        """Files by name; two underscores stand for a dot."""
        for name, text in texts.items():
            (self.folder / name.replace("__", ".").replace("_at", "@")).write_text(text)

    async def argosy(self, *words: str) -> tuple[int, str]:
        """Exit status and output; a command that does not end by itself fails the test."""
        process = await asyncio.create_subprocess_exec(
            program(), *words, stdout=PIPE, stderr=STDOUT, cwd=self.folder, env={**os.environ, "ARGOSY_LAB": self.cluster.lab.name}
        )
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    async def good(self, *words: str) -> str:
        code, said = await self.argosy(*words)
        assert code == 0, said
        return said

    async def shell(self, line: str) -> str:
        """On the machine."""
        return (await self.cluster.lab.exec("m1", ["sh", "-c", line])).stdout

    async def appears(self, line: str, wanted: str) -> None:
        end = time.monotonic() + PATIENCE
        while wanted not in (said := await self.shell(line)):
            assert time.monotonic() < end, f"{line}: {said}"
            await asyncio.sleep(0.1)

    async def state(self, name: str) -> dict[str, object]:
        unit = (await self.cluster["m1"].units())[name]
        (state,) = unit.get("states", [{}])
        return dict(state)


@pytest_asyncio.fixture
async def person(cluster: Cluster, tmp_path: Path) -> Person:
    return Person(cluster, tmp_path)


@on_systemd
async def test_the_job_of_a_timer_runs_to_its_end_each_time(person: Person) -> None:
    person.write(
        backup__service='[Service]\nType=oneshot\nExecStart=/bin/sh -c "echo begin >> /run/backup; sleep 2; echo end >> /run/backup"\n',
        backup__timer="[Timer]\nOnActiveSec=100ms\nOnUnitInactiveSec=200ms\nAccuracySec=10ms\n",
    )
    await person.shell("rm -f /run/backup")
    await person.good("load", "backup.service")
    await person.good("start", "backup.timer")
    await person.appears("cat /run/backup", "begin\nend\nbegin\n")
    await person.good("stop", "backup.service")  # it does not run for argosy: there is nothing to stop
    await person.appears("cat /run/backup", "begin\nend\nbegin\nend\n")
    await person.good("destroy", "backup.timer", "backup.service")
    await person.appears("systemctl show -P LoadState backup.service", "not-found")


@on_both
async def test_a_loaded_unit_that_another_requires_runs_on(person: Person) -> None:
    person.write(es__service="[Unit]\nRequires=esd.service\nAfter=esd.service\n" + SLEEPER, esd__service=SLEEPER)
    await person.good("load", "es.service", "esd.service")
    await person.good("start", "es")
    before = {name: await person.state(name) for name in ("es.service", "esd.service")}
    assert [state["active"] for state in before.values()] == ["active", "active"]
    assert "launch" not in before["esd.service"]
    await person.good("start", "esd")
    await asyncio.wait((asyncio.create_task(person.cluster["m1"].until(lambda units: False, "a change", patience=2.0)),), timeout=1.5)
    after = {name: await person.state(name) for name in before}
    assert {name: state["pid"] for name, state in after.items()} == {name: state["pid"] for name, state in before.items()}
    assert after["esd.service"]["launch"] == 1


@on_both
async def test_a_sidekick_stopped_and_started_with_its_app_is_launched(person: Person) -> None:
    person.write(app__service=SLEEPER, kick__service="[Unit]\nBindsTo=app.service\nAfter=app.service\n" + SLEEPER)
    for _ in range(3):
        assert (await person.good("start", "kick.service", "app.service")).count("launched on") == 2
        assert (await person.good("stop", "kick", "app")).count("loaded on") == 2


@on_both
async def test_a_start_of_what_has_failed_starts_it_anew(person: Person) -> None:
    person.write(app__service='[Service]\nExecStartPre=/bin/sh -c "test -e /run/argosy-test-good"\nExecStart=/bin/sleep 1000\nRestart=no\n')
    await person.shell("rm -f /run/argosy-test-good")
    code, said = await person.argosy("start", "app.service")
    assert (code, "failed on" in said) == (1, True), said
    await person.shell("touch /run/argosy-test-good")
    assert "launched on" in await person.good("start", "app.service")
    assert (await person.state("app.service"))["launch"] == 2


REFUSED: Sequence[tuple[str, str, str, str]] = [
    # sentence, unit, text, what is said
    ("a oneshot that always restarts", "job.service", "[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/true\n", "Restart="),
    ("a container with a secret", "web.container", "[Container]\nImage=app:1\nSecret=key\n", "Secret="),
    ("a container without its volume", "web.container", "[Container]\nImage=app:1\nVolume=data.volume:/data\n", "data.volume"),
]


@on_both
@pytest.mark.parametrize(("sentence", "name", "text", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_a_start_that_is_refused_ends_with_the_reason(person: Person, sentence: str, name: str, text: str, reason: str) -> None:
    (person.folder / name).write_text(text)
    await person.argosy("submit", name)
    code, said = await person.argosy("start", name)
    assert code != 0, said
    assert reason in said, said
    assert "ended well" not in said
    units = await person.cluster["m1"].units()
    if units:  # else it was refused before it was submitted
        assert (await person.state(next(iter(units))))["result"] == "refused"
        why = await person.good("why", next(iter(units)))
        assert "m1 says: refused" in why, why
        assert reason in why
        assert "ended well" not in why
        assert " refused\n" in await person.good("list-units")
        code, said = await person.argosy("restart", next(iter(units)))
        assert (code, reason in said) == (1, True), said


@pytest.mark.parametrize("one", ["process"], indirect=True)
async def test_a_timer_is_refused_by_the_supervisor_with_the_reason(person: Person) -> None:
    person.write(tick__timer="[Timer]\nOnActiveSec=1s\n")
    code, said = await person.argosy("start", "tick.timer")
    assert code == 1, said
    assert "want systemd" in said


@on_systemd
async def test_a_stop_that_systemd_refuses_ends_with_the_reason(person: Person) -> None:
    person.write(app__service="[Unit]\nRefuseManualStop=yes\n" + SLEEPER)
    await person.good("start", "app.service")
    for verb in ("stop", "unload"):
        code, said = await person.argosy(verb, "app")
        assert code == 1, said
        assert "refused" in said
    person.write(app__service=SLEEPER)
    await person.shell("mkdir -p /run/systemd/system/app.service.d")
    await person.shell("printf '[Unit]\\nRefuseManualStop=no\\n' > /run/systemd/system/app.service.d/no.conf; systemctl daemon-reload")
    await person.appears("systemctl is-active app.service", "inactive")
    await person.shell("rm -r /run/systemd/system/app.service.d; systemctl daemon-reload")


@on_both
async def test_conditions_that_do_not_hold_end_the_wait(person: Person) -> None:
    person.write(app__service="[Unit]\nConditionPathExists=/run/nothing-of-that-name\n" + SLEEPER)
    code, said = await person.argosy("start", "app.service")
    assert code == 0, said
    assert "not run" in said or person.cluster.record.kind == "process"


PLAIN = "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms\n"


@on_both
async def test_a_rolling_change_that_fails_goes_back(person: Person) -> None:
    person.write(plain_at__service=PLAIN)
    await person.good("submit", "plain@.service")
    await person.good("start", "plain@1", "plain@2")
    for _ in range(3):
        person.write(plain_at__service=PLAIN + "ExecStartPre=/bin/false\n")
        code, said = await person.argosy("update", "plain@.service", "--on-failure", "rollback", "--steady", "0.5")
        assert code == 1, said
        assert "put back: plain@1.service" in said, said
        assert "not touched: plain@2.service" in said, said
        assert "with what it was before, too" not in said
        for name in ("plain@1.service", "plain@2.service"):
            state = await person.state(name)
            assert (state["active"], state.get("failures", 0)) == ("active", 0)
