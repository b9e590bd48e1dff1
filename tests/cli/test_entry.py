"""argosy entry as its user sees it, with a real agent's API, real nginx, and as a user without root where that can be had."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from argosy.cli import entering
from argosy.cli.entering import Asked
from argosy.errors import NotFound
from argosy.install import program
from argosy.model import Machine, RouterReport
from argosy.router.entry.plan import Wanted
from argosy.router.entry.render import OWN_HEALTH
from argosy.router.tuning import Tuning
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put
from tests.api.house import House, a_house
from tests.cli.stage import invoke
from tests.cli.test_up import NOBODY, privileges
from tests.router.entry.test_render import needs_haproxy
from tests.router.entry.test_serving import Machine as Served
from tests.router.entry.test_serving import machines
from tests.router.web import ask, free_port, needs_nginx, until, until_async

pytestmark = [needs_nginx, pytest.mark.timeout(120)]


class Entries:
    """Entries in a folder of their own, in front of a cluster whose API is `house`."""

    def __init__(self, folder: Path, house: House) -> None:
        self.folder = folder
        self.house = house
        self.port = free_port()
        self.started: list[Process] = []

    async def joins(self, served: Served) -> None:
        """The cluster has a machine more: its name's digit is its id's. (The house itself is m1, and has no router.)"""
        ident = served.member.id
        puts = [
            Put(keys.machine(ident), encode(Machine(ident, served.address, served.name))),
            Put(keys.router(ident), encode(RouterReport(ident, listen=(f"0.0.0.0:{served.http}",)))),
        ]
        await self.house.store.commit([], puts)

    async def run(self, *words: str, folder: str = "entry") -> Process:
        place = ("--folder", str(self.folder / folder), "--agent", f"http://{self.house.address('tcp')}")
        process = await asyncio.create_subprocess_exec(
            *privileges(), program(), "entry", *place, *words, cwd=self.folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        self.started.append(process)
        return process

    async def start(self, *words: str, folder: str = "entry", port: int = 0) -> Process:
        process = await self.run("--listen", f"127.0.0.1:{port or self.port}", *words, folder=folder)

        async def listens() -> bool:
            assert process.returncode is None, (await process.communicate())[1]
            try:
                running = (await asyncio.to_thread(entering.status, self.folder / folder))["running"]
                return running and (await ask(port or self.port, "x", OWN_HEALTH)).status == 200
            except (OSError, NotFound):
                return False

        await until_async(listens, "the entry serves", 30.0)
        return process

    async def names(self, times: int = 6, port: int = 0) -> set[str]:
        return {(await ask(port or self.port, "hello.example")).body for _ in range(times)}


@pytest_asyncio.fixture
async def entries(tmp_path: Path) -> AsyncIterator[Entries]:
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="argosy-"))
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    async with a_house(tmp_path, api__group=grp.getgrgid(NOBODY if os.getuid() == 0 else os.getgid()).gr_name) as house:
        made = Entries(folder, house)
        try:
            yield made
        finally:
            for process in made.started:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                await process.communicate()
            left = [path.parent.name for path in Path("/proc").glob("[0-9]*/cwd") if _inside(path, folder)]
            await asyncio.to_thread(shutil.rmtree, folder)
            assert left == []


def _inside(path: Path, folder: Path) -> bool:
    try:
        return os.readlink(path).startswith(str(folder))
    except OSError:
        return False


async def test_it_serves_follows_orders_hands_over_and_ends_in_peace(entries: Entries) -> None:
    async with machines(2, 3) as (two, three):
        await entries.joins(two)
        await entries.joins(three)
        first = await entries.start("--grace", "5", "--metrics", f"127.0.0.1:{(metrics := free_port())}")
        assert await entries.names() == {"m2", "m3"}
        assert 'argosy_entry_machine_up{machine="m2",pool="http"} 1.0' in (await ask(metrics, "x", "/metrics")).body
        await entries.house.own("POST", "/machines/m2/cordon")

        async def only_the_other() -> bool:
            return await entries.names() == {"m3"}

        await until_async(only_the_other, "the cordoned machine leaves")
        other = await entries.run("--listen", f"127.0.0.1:{free_port()}")
        said = (await other.communicate())[1].decode()
        assert (other.returncode, "an entry runs in" in said) == (1, True)
        shown = await asyncio.to_thread(invoke, "entry", "--status", "--folder", str(entries.folder / "entry"))
        assert [" ".join(line.split()) for line in shown.out.splitlines()[1:]] == [
            f"http m2 {two.address}:{two.http} answers cordoned no",
            f"http m3 {three.address}:{three.http} answers ready yes",
            "http m1 - - no router reports from there no",
        ]

        first.send_signal(signal.SIGHUP)
        await first.communicate()
        assert first.returncode == 0
        assert await entries.names() == {"m3"}, "nginx goes on"
        again = await entries.start()
        assert await entries.names() == {"m3"}
        reader, writer = await asyncio.open_connection("127.0.0.1", entries.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        again.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionRefusedError):
            await entries.names(100_000)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await again.communicate()
        assert again.returncode == 0


async def test_two_entries_side_by_side_serve_the_same_and_one_that_is_killed_is_taken_over(entries: Entries) -> None:
    async with machines(2, 3) as (two, three):
        await entries.joins(two)
        await entries.joins(three)
        other = free_port()
        first = await entries.start()
        await entries.start(folder="second", port=other)
        assert await entries.names() == await entries.names(port=other) == {"m2", "m3"}
        first.kill()
        await first.communicate()
        assert await entries.names() == await entries.names(port=other) == {"m2", "m3"}
        await entries.start()
        assert await entries.names() == {"m2", "m3"}


async def test_a_port_that_is_taken_or_privileged_is_said_and_nothing_is_left_running(entries: Entries) -> None:
    async with machines(1) as (one,):
        process = await entries.run("--listen", f"{one.address}:{one.http}")
        said = (await process.communicate())[1].decode()
        assert process.returncode == 1
        assert said.startswith(
            f"Error: the entry cannot listen on {one.address}:{one.http}: Address already in use\n  another server listens"
        )


@needs_haproxy
async def test_what_is_printed_names_the_machines_and_a_file_is_kept_up_to_date(entries: Entries) -> None:
    async with machines(2, 3) as (two, three):
        await entries.joins(two)
        printing = await entries.run("--print", "haproxy")
        out, err = await printing.communicate()
        assert f"server m2 {two.address}:{two.http} check" in out.decode()
        assert b"http: m1 is no part of it: no router reports from there" in err
        output, mark = entries.folder / "haproxy.cfg", entries.folder / "mark"
        keeping = await entries.run("--print", "haproxy", "--output", str(output), "--reload", f"touch {mark}")
        await until(lambda: mark.exists() and "server m2 " in output.read_text(), "the file is written", 30.0)
        await entries.joins(three)
        await until(lambda: "server m3 " in output.read_text(), "the file follows", 30.0)
        keeping.send_signal(signal.SIGTERM)
        await keeping.communicate()
        assert keeping.returncode == 0


TLS_COMMAND = (
    "entry --listen 0.0.0.0:80 --proxy-protocol --agent https://10.0.0.1:8700 --ca /a --cert /b"
    " --key /50%%$$c --folder /run/argosy/entry --check-interval 0.2 --grace 9"
)
SERVICE = [
    ((), "entry --listen 0.0.0.0:80 --folder /run/argosy/entry --check-interval 0.2 --grace 10", "nothing but defaults"),
    (
        ("--listen", "none", "--tcp", "0.0.0.0:5432=5432", "--metadata", "role=db", "--folder", "/srv/my entry", "--grace", "60"),
        'entry --listen none --tcp 0.0.0.0:5432=5432 --metadata role=db --folder "/srv/my entry" --check-interval 0.2 --grace 60',
        "other things, and a blank",
    ),
    (
        ("--agent", "https://10.0.0.1:8700", "--ca", "/a", "--cert", "/b", "--key", "/50%$c", "--grace", "9", "--proxy-protocol"),
        TLS_COMMAND,
        "what systemd would read otherwise",
    ),
]


@pytest.mark.skipif(os.getuid() != 0, reason="the default folder is root's")
@pytest.mark.parametrize(("words", "command", "why"), SERVICE, ids=[row[2] for row in SERVICE])
def test_the_service_asks_for_the_same(words: tuple[str, ...], command: str, why: str) -> None:
    said = invoke("entry", *words, "--print-service")
    assert said.code == 0, said
    (line,) = [line for line in said.out.splitlines() if line.startswith("ExecStart=")]
    assert line.endswith(f"/argosy {command}")
    assert "KillMode=process" in said.out


REFUSED = [
    (("--listen", "none"), "told to listen nowhere", "nothing to do"),
    (("--listen", "80"), "no address to listen on", "a port alone"),
    (("--tcp", "5432"), "says not what to carry where", "half of it"),
    (("--ca", "/x"), "some are missing", "a third of a certificate"),
    (("--trusted", "x"), "trusted has 'x'", "a network that is none"),
    (("--settings", "max_body=x"), "max_body=x: it is a size", "a size that is none"),
    (("--settings", "http=1.0"), "'http' is set for all apps of a router", "a setting that an entry has not"),
    (("--reload", "true"), "--output goes with --print", "a reload of nothing"),
    (("--metadata", "role"), "is not metadata", "metadata without a value"),
    (("--agent", "https://10.0.0.1", "--print", "nginx"), "no agent tells of the machines", "an agent that asks for a certificate"),
    (("--status", "--folder", "/no/such"), "no entry tells of itself in /no/such", "an entry that never ran"),
    (("--metrics", "9"), "no address to listen on", "metrics on a port alone"),
    (("--ca", "/x", "--cert", "/x", "--key", "/x", "--print", "nginx"), "authority's certificate /x cannot be used", "no such certificate"),
]


@pytest.mark.parametrize(("words", "said", "why"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_cannot_be_is_said_with_a_remedy(words: tuple[str, ...], said: str, why: str) -> None:
    found = invoke("entry", *words)
    assert found.code in (1, 2), found
    assert said in found.err
    assert found.err.startswith("Error: ")
    assert len(found.err.splitlines()) == 2


def test_agents_are_looked_up_anew_each_time_and_no_other_cluster_is_taken_for_this_one(tmp_path: Path) -> None:
    for machine in ("m1", "m2"):
        (tmp_path / machine).mkdir()
    (tmp_path / "m1" / "a.sock").touch()
    look = entering.given((f"unix://{tmp_path}/m*/a.sock", "https://x"), None, {})
    assert look() == [f"{tmp_path}/m1/a.sock", "https://x"]
    (tmp_path / "m2" / "a.sock").touch()
    assert look()[:2] == [f"{tmp_path}/m1/a.sock", f"{tmp_path}/m2/a.sock"]
    assert entering.given((), None, {"ARGOSY_ENDPOINT": "/a,/b"})() == ["/a", "/b"]
    assert entering.given((), "/c", {"ARGOSY_ENDPOINT": "/a,/b"})() == ["/c"]
    (only,) = entering.given((), None, {"HOME": str(tmp_path)})()
    assert only.endswith("/argosy.sock")
    assert "argosy-lab" not in only


def test_a_status_says_whether_the_entry_runs(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"listen": ["127.0.0.1:1"], "error": "port taken"}')
    shown = invoke("entry", "--json", "--folder", str(tmp_path))
    assert json.loads(shown.out) == {"running": False, "listen": ["127.0.0.1:1"], "error": "port taken"}
    told = invoke("entry", "--status", "--folder", str(tmp_path))
    assert "does not run now" in told.err
    assert "It serves what it last could: port taken" in told.err


def test_the_options_of_a_service_are_all_that_was_asked_for() -> None:
    asked = Asked(
        Wanted(("0.0.0.0:80",), ("0.0.0.0:443",), trusted=("10.0.0.0/8",), tuning=Tuning(retry="error timeout")),
        folder="/f",
        metrics="127.0.0.1:9",
    )
    assert entering.words_of(asked)[:6] == ["--listen", "0.0.0.0:80", "--tls-listen", "0.0.0.0:443", "--trusted", "10.0.0.0/8"]
    assert entering.words_of(asked)[6:8] == ["--settings", "retry=error,timeout"]
    assert entering.words_of(asked)[-2:] == ["--metrics", "127.0.0.1:9"]
