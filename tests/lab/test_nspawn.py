"""Full machines pass the lab's contract, and some things that only full machines can do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from argosy.lab.base import Driver, lines
from argosy.lab.etc import has_docker
from argosy.lab.nspawn import NspawnDriver
from tests.contracts.lab_contract import DEADLINE, Ground, LabContract
from tests.lab.conftest import need_full_machines

SERVER = """
import socket
server = socket.create_server(("0.0.0.0", 7001))
print("up", flush=True)
while True:
    connection, _ = server.accept()
    try:
        while True:
            connection.sendall(b".")
            import time; time.sleep(0.01)
    except OSError:
        pass
"""
"""Sends something all the time to whoever connects."""

CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7001), timeout=None)
while True:
    data = connection.recv(4096)
    print(len(data) or "goodbye", flush=True)
    if not data:
        break
"""
"""Says how much has come, "goodbye" at the end of the connection, and dies of a reset."""

QUIET = 1.0


class Heard:
    """What the client says, as it comes; `ended` when it has nothing more to say."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.ended = False

    async def listen(self, said: AsyncGenerator[str, None]) -> None:
        async for word in said:
            self.words.append(word)
        self.ended = True

    async def more(self) -> None:
        """Three words more come."""
        wanted, end = len(self.words) + 3, time.monotonic() + DEADLINE
        while len(self.words) < wanted:
            assert time.monotonic() < end, "nothing comes any more"
            await asyncio.sleep(0.01)
        assert "goodbye" not in self.words

    async def silence(self) -> bool:
        """For a while nothing more comes, neither data nor an end; what was on its way comes first."""
        while True:
            before = len(self.words)
            await asyncio.sleep(QUIET)
            if self.ended or "goodbye" in self.words:
                return False
            if len(self.words) == before:
                return True


@asynccontextmanager
async def talking(ground: Ground) -> AsyncIterator[Heard]:
    """m1 sends to m2 over a connection; what m2 says about it."""
    await ground.do("m1", "sysctl -w net.ipv4.tcp_retries2=15")  # a full machine gives a silent peer up after six seconds
    server = await ground.driver.command(ground.lab, "m1", ["python3", "-c", SERVER])
    client = await ground.driver.command(ground.lab, "m2", ["python3", "-c", CLIENT, f"198.18.{ground.lab.number}.1"])
    heard = Heard()
    async with aclosing(lines(server)) as served:
        assert await anext(served) == "up"
        async with aclosing(lines(client)) as said:
            listening = asyncio.create_task(heard.listen(said))
            try:
                yield heard
            finally:
                listening.cancel()
                await asyncio.wait([listening])


async def answers(address: str) -> bool:
    """Whether the machine refuses or accepts a connection from the host, rather than saying nothing."""
    try:
        async with asyncio.timeout(QUIET):
            _, writer = await asyncio.open_connection(address, 1)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


@pytest.mark.xdist_group("lab")
class TestNspawn(LabContract):
    @classmethod
    def make_driver(cls) -> Driver:
        need_full_machines()
        return NspawnDriver()

    # ------------------------------------------------------------------ what only a network of one's own can do

    async def test_a_partition_is_silent_and_connections_outlive_it(self, ground: Ground) -> None:
        async with talking(ground) as heard:
            await heard.more()
            cut = msgspec.structs.replace(ground.lab, groups=(("m1",), ("m2", "m3")))
            await ground.driver.connect(cut)
            assert await heard.silence()
            for machine in cut.machines:  # the host reaches every side
                assert await answers(machine.address), machine.name
            await ground.driver.connect(ground.lab)
            await heard.more()

    async def test_a_power_cut_says_no_goodbye(self, ground: Ground) -> None:
        async with talking(ground) as heard:
            await heard.more()
            await ground.driver.kill(ground.lab, "m1")
            assert await heard.silence()
            assert not await answers(f"198.18.{ground.lab.number}.1")
            await ground.driver.start(ground.lab, "m1")

    async def test_a_machine_is_a_host_of_its_own(self, ground: Ground) -> None:
        done = await ground.do(
            "m2", "hostname; cat /etc/machine-id; systemctl is-active dbus; ls /etc/systemd/system/*.wants; getent hosts m3"
        )
        words = done.stdout.split()
        assert words[:3] == ["m2", ground.lab.machine("m2").id, "active"]
        assert f"198.18.{ground.lab.number}.3" in words
        assert "argosy.service" in words
        assert not {"postgresql.service", "nginx.service", "apt-daily.timer"} & set(words)

    async def test_docker_runs_where_the_host_has_it(self, ground: Ground) -> None:
        if not await asyncio.to_thread(has_docker):
            assert (await ground.do("m1", "ip -brief address show docker0")).stdout.split()[2] == "172.17.0.1/16"
            return
        await ground.eventually("m3", "docker info --format '{{.ServerVersion}} {{.Driver}}'", "overlay2")
