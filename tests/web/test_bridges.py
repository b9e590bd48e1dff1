"""The keys door for containers: who reaches it, at which address, while bridges come and go. In a network of namespaces: a machine with a
bridge, a container on the bridge, and a neighbour on the machine's network."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from argosy.errors import InvalidInput
from argosy.web.bridges import IP_FREEBIND, BridgeListeners, Device, check_device, look, places
from tests.conftest import FakeClock

ROOT = Path(__file__).parent.parent.parent
DOCKER0 = Device("docker0", 7, "172.17.0.1")
MACHINE, BRIDGE, CONTAINER = "198.18.250.1", "172.17.0.1", "172.17.0.2"

PLACES: list[tuple[str, list[Device], str, list[str], set[tuple[str, int, str]]]] = [
    ("no bridge is there", [], MACHINE, [], set()),
    (
        "a bridge: its own address and the machine's, for what comes in by it",
        [DOCKER0],
        MACHINE,
        ["127.0.0.1"],
        {("docker0", 7, BRIDGE), ("docker0", 7, MACHINE)},
    ),
    ("the machine's address is not known", [DOCKER0], "", [], {("docker0", 7, BRIDGE)}),
    ("the machine has an IPv6 address", [DOCKER0], "fd00::1", [], {("docker0", 7, BRIDGE)}),
    ("a machine on loopback", [DOCKER0], "127.0.1.1", [], {("docker0", 7, BRIDGE)}),
    ("the operator listens there anyway", [DOCKER0], MACHINE, [BRIDGE], {("docker0", 7, MACHINE)}),
    (
        "two bridges",
        [DOCKER0, Device("br0", 9, "172.18.0.1")],
        "",
        [],
        {("docker0", 7, BRIDGE), ("br0", 9, "172.18.0.1")},
    ),
]


@pytest.mark.parametrize(("_why", "devices", "address", "listened", "wanted"), PLACES, ids=[row[0] for row in PLACES])
def test_where_containers_are_heard(_why: str, devices: list[Device], address: str, listened: list[str], wanted: set[object]) -> None:
    assert {(place.device, place.index, place.address) for place in places(devices, address, listened)} == wanted


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b", "..", ".", "eth0:1"])
def test_what_is_no_devices_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"\[keys\] bridges"):
        check_device(name, "[keys] bridges")


def test_a_device_that_is_not_there_is_none() -> None:
    assert look("nosuchdevice0") is None
    assert look("lo") == Device("lo", 1, "127.0.0.1")


def listening(address: str, port: int = 0) -> socket.socket:
    """Anybody's listener, at an address that this machine need not have."""
    listener = socket.socket()
    listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    listener.bind((address, port))
    listener.listen()
    return listener


async def test_an_address_that_is_taken_harms_nobody_and_is_tried_again(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    told: list[list[str]] = []
    found: list[Device] = [Device("lo", 1, "198.18.255.1")]
    with listening("198.18.255.1") as taken:
        port = taken.getsockname()[1]
        bridges = BridgeListeners("keys", ["lo"], "", port, runner, clock, told.append, look=lambda _: found[0] if found else None)
        task = asyncio.create_task(bridges.run())
        await clock.advance(10)
        assert caplog.text.count("cannot listen on 198.18.255.1") == 1
        assert told == []
    await clock.advance(31)
    assert told == [[f"198.18.255.1:{port}"]]
    found.clear()
    await clock.advance(1)
    assert told[1:] == [[]]
    listening("198.18.255.1", port).close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()


class Network:
    """Namespaces: the machine, with a bridge, a container on it, and a neighbour that knows a way to the bridge's network through the
    machine."""

    def __init__(self) -> None:
        self.names = {role: f"argosy-{os.getpid()}-{role}" for role in ("machine", "container", "neighbour")}

    async def ip(self, *commands: str, role: str = "") -> None:
        """`ip` command lines; $machine and so on are the namespaces' names."""
        for command in commands:
            for name, space in self.names.items():
                command = command.replace(f"${name}", space)
            inside = ["nsenter", f"--net=/run/netns/{self.names[role]}"] if role else []
            code, said = await run(*inside, "ip", *command.split())
            assert code == 0, f"ip {command}: {said}"

    async def bridge(self) -> None:
        await self.ip("link add docker0 type bridge", f"address add {BRIDGE}/16 dev docker0", "link set docker0 up", role="machine")
        await self.ip("link add c0 type veth peer name eth0 netns $container", "link set c0 master docker0 up", role="machine")
        await self.ip(
            "link set lo up",
            f"address add {CONTAINER}/16 dev eth0",
            "link set eth0 up",
            f"route add default via {BRIDGE}",
            role="container",
        )

    async def unbridge(self) -> None:
        await self.ip("link delete c0", "link delete docker0", role="machine")

    async def build(self) -> None:
        await self.ip(*(f"netns add {name}" for name in self.names.values()))
        await self.ip("link set lo up", "link add eth0 type veth peer name eth0 netns $neighbour", role="machine")
        await self.ip(f"address add {MACHINE}/24 dev eth0", "link set eth0 up", role="machine")
        await self.ip(
            "address add 198.18.250.2/24 dev eth0", "link set eth0 up", f"route add 172.17.0.0/16 via {MACHINE}", role="neighbour"
        )

    async def destroy(self) -> None:
        for name in self.names.values():
            await run("ip", "netns", "delete", name)

    async def reach(self, role: str, address: str, port: str) -> str:
        """ "yes", "refused", or what else curl says."""
        url = f"http://{address}:{port}/version"
        code, said = await run("nsenter", f"--net=/run/netns/{self.names[role]}", "curl", "-sS", "-m", "2", url)
        return "yes" if code == 0 and "etcdserver" in said else "refused" if code == 7 else said


async def run(*command: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


async def line(process: Process, with_text: str) -> str:
    """The process's next line with that text."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while True:
            said = (await process.stdout.readline()).decode()
            assert said, f"it ended without saying {with_text!r}"
            if with_text in said:
                return said


@asynccontextmanager
async def machine(network: Network, folder: Path, *settings: str) -> AsyncIterator[tuple[Process, str]]:
    """The machine's doors, and the port of the keys."""
    child = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net=/run/netns/{network.names['machine']}"),
        *(sys.executable, "-u", "-m", "tests.api.machine", str(folder), "keys.bridges=docker0", f"machine.address={MACHINE}", *settings),
        stdout=PIPE,
        stderr=STDOUT,
        cwd=ROOT,
    )
    try:
        yield child, (await line(child, "port ")).split()[1]
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    if os.getuid() != 0 or shutil.which("nsenter") is None or shutil.which("ip") is None or shutil.which("curl") is None:
        pytest.skip("network namespaces need root, ip, nsenter and curl")
    made = Network()
    try:
        await made.build()
        yield made
    finally:
        await made.destroy()


async def test_containers_reach_the_keys_and_the_network_does_not(network: Network, tmp_path: Path) -> None:
    await network.bridge()
    async with machine(network, tmp_path) as (process, port):
        for _ in range(2):
            await line(process, "keys API listening on")
        reached = {
            (role, address): await network.reach(role, address, port)
            for role in ("machine", "container", "neighbour")
            for address in (BRIDGE, MACHINE)
        }
        assert reached == {
            ("machine", BRIDGE): "yes",
            ("machine", MACHINE): "refused",
            ("container", BRIDGE): "yes",
            ("container", MACHINE): "yes",
            ("neighbour", BRIDGE): "refused",
            ("neighbour", MACHINE): "refused",
        }
        assert await network.reach("machine", "127.0.0.1", port) == "yes"


async def test_a_bridge_that_comes_goes_and_comes_back_as_another_device(network: Network, tmp_path: Path) -> None:
    async with machine(network, tmp_path) as (process, port):
        assert await network.reach("machine", MACHINE, port) == "refused"
        for _ in range(2):
            await network.bridge()
            await line(process, f"keys API listening on docker0 at {MACHINE}")
            assert await network.reach("container", MACHINE, port) == "yes"
            assert await network.reach("neighbour", MACHINE, port) == "refused"
            await network.unbridge()
            await line(process, f"keys API closed on docker0 at {MACHINE}")
            assert await network.reach("machine", "127.0.0.1", port) == "yes"
