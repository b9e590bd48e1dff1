"""argosy up and down, with a real agent, supervisor and nginx, as a user without root where that can be had."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from argosy.install import program
from tests.cli.stage import Said
from tests.router.web import free_port, until

NOBODY = 65534
PATIENCE = 40.0

pytestmark = pytest.mark.timeout(120)


class Home:
    """A user's home with nothing in it. Units run `sleep` for `seconds`, a number that no other process on this host has."""

    def __init__(self, folder: Path, become: tuple[str, ...]) -> None:
        self.folder = folder
        self.become = become
        self.seconds = str(10_000_000 + secrets.randbelow(1_000_000_000))
        self.ports = {door: free_port() for door in ("api", "keys", "router")}
        self.environ = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder),
            "LANG": "C.UTF-8",
        }

    @property
    def state(self) -> Path:
        return self.folder / "argosy"

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.become, program(), *words, cwd=self.folder, env=self.environ, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )

    async def run(self, *words: str) -> Said:
        process = await self.start(*words)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def up(self, *words: str) -> Said:
        doors = [f"--{door}=127.0.0.1:{port}" for door, port in self.ports.items() if f"--{door}" not in words]
        return await self.run("up", "--runtime=supervisor", *doors, *words)

    def unit(self, name: str) -> None:
        (self.folder / name).write_text(f"[Service]\nExecStart=/bin/sleep {self.seconds}\n")

    def processes(self, word: str = "") -> dict[int, str]:
        """What runs of this home (command lines by pid): what names its folder, works in it, or is one of its units."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                inside = os.readlink(entry / "cwd").startswith(str(self.folder))
            except OSError:
                continue
            if line and word in line and (inside or str(self.folder) in line or self.seconds in line):
                found[int(entry.name)] = line
        return found

    def sleepers(self) -> set[int]:
        return set(self.processes(f"sleep {self.seconds}"))

    def agent(self) -> int:
        return int((self.state / "run" / "agent.pid").read_text())


def privileges() -> tuple[str, ...]:
    """How to become a user without root; () for one who is."""
    if os.getuid() != 0:
        return ()
    kept = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # Python may lie in root's home
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *kept)


@pytest_asyncio.fixture
async def home() -> AsyncIterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="argosy-"))
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    made = Home(folder, privileges())
    try:
        yield made
    finally:
        said = await made.run("down")
        left = made.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        assert not left, (left, said)


async def test_up_start_down_and_up_again(home: Home) -> None:
    said = await home.up("--name", "here", "--metadata", "role=web")
    assert (said.code, said.err) == (0, ""), said
    lines = said.out.splitlines()
    assert lines[0].startswith("Argosy is up on this machine (")
    assert "  units run under  Argosy's own supervisor" in lines
    assert f"  state            {home.state}/store.sqlite (SQLite)" in lines
    assert f"  API              unix://{home.state}/run/argosy.sock, http://127.0.0.1:{home.ports['api']}" in lines
    assert lines[-1].endswith("It all stops with: argosy down")
    machine = lines[0][lines[0].index("(") + 1 :][:8]
    assert await home.up() == (0, f"An agent runs here already (machine {machine}...). Stop it with: argosy down\n", "")
    assert (await home.run("list-machines", "--fields=name,metadata", "--no-legend")).out == "here  role=web\n"

    home.unit("a.service")
    home.unit("b@.service")
    assert (await home.run("start", "a", "b@1")).code == 0
    assert len(home.sleepers()) == 2
    assert (home.state / "store.sqlite").stat().st_uid == (NOBODY if os.getuid() == 0 else os.getuid())

    said = await home.run("down")
    assert said == (0, "The agent is stopped.\nStopped 2 units: a.service, b@1.service. They start again with argosy up.\n", "")
    assert home.processes() == {}
    assert (await home.run("down")).out == "No agent of yours was running here.\n"
    assert (await home.run("list-units")).err.startswith("Error: no agent answers at ")

    assert (await home.up()).code == 0
    await until(lambda: len(home.sleepers()) == 2, "the units run again")


async def test_an_agent_that_was_killed_is_started_anew_and_its_units_never_notice(home: Home) -> None:
    home.unit("a.service")
    assert (await home.up()).code == 0
    assert (await home.run("start", "a")).code == 0
    before = home.sleepers()
    killed = home.agent()
    os.kill(killed, signal.SIGKILL)
    await until(lambda: killed not in home.processes(), "the agent is dead")
    said = await home.up()
    assert (said.code, said.err) == (0, "")
    assert home.agent() != killed
    assert home.sleepers() == before
    os.kill(home.agent(), signal.SIGKILL)
    await until(lambda: home.agent() not in home.processes(), "the agent is dead")
    said = await home.run("down")
    assert said.out == "No agent of yours was running here.\nStopped 1 unit: a.service. It starts again with argosy up.\n"
    assert home.processes() == {}


async def test_a_port_that_is_taken_is_named_with_the_way_out(home: Home) -> None:
    doors = {"api": "the API", "keys": "the etcd v2 keys"}
    if shutil.which("nginx", path=home.environ["PATH"]):
        doors["router"] = "web traffic"
    with contextlib.ExitStack() as stack:
        words: list[str] = []
        for door, what in doors.items():
            port = home.ports[door]
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
            said = await home.up(*words)
            assert (said.code, said.out) == (1, "")
            first, remedy = said.err.splitlines()
            assert first.startswith(f"Error: port {port} for {what} is in use: ")
            assert first.endswith(f" listens on 127.0.0.1:{port}")
            assert remedy == f"  stop that, or argosy up --{door} 127.0.0.1:{port + 1}, or --{door} none to do without"
            assert home.processes() == {}
            words += [f"--{door}", "none"]
        assert (await home.up(*words)).code == 0


async def test_a_port_below_1024_is_only_for_root(home: Home) -> None:
    start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if start <= 81:
        pytest.skip("this host lets everybody listen on port 81")
    said = await home.up("--api", "127.0.0.1:81")
    assert said == (
        1,
        "",
        "Error: port 81 for the API may only be used by root\n  argosy up --api 127.0.0.1:8081, or --api none to do without\n",
    )


async def test_an_agent_that_cannot_start_says_why(home: Home) -> None:
    home.environ["ARGOSY_TLS_CA"] = "/nowhere/ca.pem"
    said = await home.up()
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    assert lines[0] == "Error: the agent has ended with status 2; it said:"
    assert any("/nowhere/ca.pem" in line for line in lines[1:-1])
    assert lines[-1] == f"  its log is {home.state}/agent.log"
    assert "Traceback" not in said.err
    assert home.processes("argosy agent") == {}


async def test_an_agent_that_somebody_else_started_is_left_alone_and_remains_the_only_one(home: Home) -> None:
    home.unit("a.service")
    assert (await home.up()).code == 0
    assert (await home.run("start", "a")).code == 0
    ours = home.agent()
    os.kill(ours, signal.SIGTERM)
    await until(lambda: ours not in home.processes(), "the agent has ended")
    words = ("agent", "--config", str(home.state / "up.toml"))
    theirs = await home.start(*words)
    socket_path = home.state / "run" / "argosy.sock"
    await until(lambda: bool(home.processes("argosy agent")) and socket_path.exists(), "the agent runs")
    (holder,) = home.processes("argosy agent")
    said = await home.run("down")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        f"Error: the agent that runs here (process {holder}) was not started by argosy up\n"
        "  stop it where it was started: systemctl stop argosy\n"
    )
    second = await home.run(*words)
    assert second.code == 1
    assert any(line.startswith("Error: ") for line in second.err.splitlines())
    assert "Traceback" not in second.err
    assert home.sleepers()
    os.kill(holder, signal.SIGTERM)
    await theirs.communicate()
    assert theirs.returncode == 0
