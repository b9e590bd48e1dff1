"""Connections that the kernel watches, on real sockets: who answers, who does not, and how soon that is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest

from argosy.agent.probes.dial import TlsDial
from argosy.agent.probes.loop import Unanswered
from argosy.model import ProbeTarget
from argosy.trust import contexts
from argosy.trust.authority import create_authority, issue

M1, M2 = "1" * 32, "2" * 32
SERVER = """
import asyncio, ssl, sys
ca, cert, key = sys.argv[1:4]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(cert, key)
async def serve(reader, writer):
    await reader.read()
async def main():
    server = await asyncio.start_server(serve, sys.argv[4], 8700, ssl=context)
    print("listening", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Papers(NamedTuple):
    first: tuple[str, str, str]
    second: tuple[str, str, str]

    def client(self) -> ssl.SSLContext:
        return contexts.client(*self.first)

    def server(self) -> ssl.SSLContext:
        return contexts.server(*self.second)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    authority = create_authority("test", time.time())
    found = []
    for machine in (M1, M2):
        pair = issue(authority, machine, time.time(), days=10)
        paths = tuple(folder / f"{machine[0]}.{name}" for name in ("ca", "cert", "key"))
        for path, content in zip(paths, (authority.cert, pair.cert, pair.key), strict=True):
            path.write_bytes(content)
        found.append((str(paths[0]), str(paths[1]), str(paths[2])))
    return Papers(found[0], found[1])


@contextlib.asynccontextmanager
async def second(papers: Papers) -> AsyncIterator[tuple[ProbeTarget, asyncio.Server, list[asyncio.StreamWriter]]]:
    """Machine 2's listener on loopback, and what came in."""
    inside: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=papers.server()) as server:
        port = server.sockets[0].getsockname()[1]
        yield ProbeTarget(M2, f"127.0.0.1:{port}"), server, inside
        for writer in inside:
            writer.close()


async def test_a_connection_stands_until_the_other_side_ends_it(papers: Papers) -> None:
    answers: list[bool] = []
    async with second(papers) as (target, _, inside):
        link = await TlsDial(papers.client())(target, lambda: answers.append(True))
        assert link is not None
        assert answers == [True]
        waiting = asyncio.create_task(link.ended())
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        inside[0].transport.abort()
        async with asyncio.timeout(10):
            await waiting
        link.close()


async def test_a_connection_that_this_side_closes_ends(papers: Papers) -> None:
    async with second(papers) as (target, _, _):
        link = await TlsDial(papers.client())(target, lambda: None)
        assert link is not None
        link.close()
        async with asyncio.timeout(10):
            await link.ended()


async def test_a_refused_connection_is_an_answer(papers: Papers) -> None:
    answers: list[bool] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = ProbeTarget(M2, f"127.0.0.1:{taken.getsockname()[1]}")
        assert await TlsDial(papers.client())(target, lambda: answers.append(True)) is None
    assert answers == [True]


async def test_another_machine_at_the_same_address_is_no_link(papers: Papers) -> None:
    async with second(papers) as (target, _, _):
        stranger = ProbeTarget("3" * 32, target.door)
        assert await TlsDial(papers.client())(stranger, lambda: None) is None


@pytest.mark.parametrize("door", ["no-such-host.invalid:8700", "127.0.0.1:port", ""])
async def test_an_address_that_cannot_be_used_says_nothing(papers: Papers, door: str) -> None:
    answers: list[bool] = []
    assert await TlsDial(papers.client())(ProbeTarget(M2, door), lambda: answers.append(True)) is None
    assert answers == []


class Cable(NamedTuple):
    """A machine in a network namespace of its own, and the cable to it."""

    space: str
    address: str

    def pull(self) -> None:
        ip("-n", self.space, "link", "set", "eth0", "down")

    def plug(self) -> None:
        ip("-n", self.space, "link", "set", "eth0", "up")


def ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"ad{os.getpid() % 100_000}"
    found = Cable(name, "198.18.250.2")
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}b", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", "198.18.250.1/24", "dev", f"{name}b")
        ip("link", "set", f"{name}b", "up")
        ip("-n", name, "addr", "add", f"{found.address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        yield found
    finally:
        ip("link", "del", f"{name}b")
        ip("netns", "del", name)


@contextlib.asynccontextmanager
async def far(papers: Papers, cable: Cable) -> AsyncIterator[asyncio.subprocess.Process]:
    """Machine 2's listener in the namespace."""
    command = ("nsenter", f"--net=/run/netns/{cable.space}", sys.executable, "-c", SERVER, *papers.second, cable.address)
    running = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert running.stdout is not None
    try:
        assert await running.stdout.readline() == b"listening\n"
        yield running
    finally:
        running.kill()
        await running.communicate()


async def test_a_machine_without_power_is_noticed_within_two_seconds_and_answers_nothing(papers: Papers, cable: Cable) -> None:
    dial = TlsDial(papers.client())
    target = ProbeTarget(M2, f"{cable.address}:8700")
    async with far(papers, cable):
        link = await dial(target, lambda: None)
        assert link is not None
        begun = time.monotonic()
        await asyncio.to_thread(cable.pull)
        async with asyncio.timeout(10):
            await link.ended()
        assert time.monotonic() - begun < 3.5, "1 to 2 s, and some for a busy host"
        answers: list[bool] = []
        with pytest.raises(Unanswered):
            await dial(target, lambda: answers.append(True))
        assert answers == []
        await asyncio.to_thread(cable.plug)
        assert await dial_until_answered(dial, target)


async def dial_until_answered(dial: TlsDial, target: ProbeTarget) -> bool:
    async with asyncio.timeout(20):
        while True:
            try:
                link = await dial(target, lambda: None)
            except Unanswered:
                continue
            if link is not None:
                link.close()
            return True


async def test_a_machine_whose_processes_stand_still_answers_by_its_kernel(papers: Papers, cable: Cable) -> None:
    dial = TlsDial(papers.client())
    target = ProbeTarget(M2, f"{cable.address}:8700")
    async with far(papers, cable) as running:
        link = await dial(target, lambda: None)
        assert link is not None
        os.kill(running.pid, signal.SIGSTOP)  # nsenter has become the server
        ended = asyncio.create_task(link.ended())
        done, _ = await asyncio.wait([ended], timeout=4.0)
        assert not done, "the kernel's keep-alives are answered"
        answers = asyncio.Event()
        again = asyncio.create_task(dial(target, answers.set))
        async with asyncio.timeout(5):
            await answers.wait()
        again.cancel()
        ended.cancel()
        await asyncio.gather(again, ended, return_exceptions=True)
        os.kill(running.pid, signal.SIGCONT)
        link.close()
