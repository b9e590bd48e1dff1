"""Who may write keys besides the machine's own users: units that ask for it, their containers, and networks that the operator names."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.api.writers import Latest, is_in_one_of, user_of
from argosy.errors import InvalidInput
from tests.api.house import M1, M2, House, a_house
from tests.web.clients import STRANGER, curl_as
from tests.web.test_bridges import BRIDGE, MACHINE, Network, line, machine, run
from tests.web.test_bridges import network as network

SIDEKICK = "[Service]\nUser={user}\nExecStart=/usr/bin/etcdctl set /a 1\n\n[X-Argosy]\nKeys={keys}\n"

TEXTS: list[tuple[str, str, str]] = [
    ("it asks, and runs as a user", SIDEKICK.format(user="nobody", keys="write"), "nobody"),
    ("it asks, and runs as a number", SIDEKICK.format(user="1000", keys="write"), "1000"),
    ("it does not ask", SIDEKICK.format(user="nobody", keys="read"), ""),
    ("it asks and runs as root, who may anyway", "[Service]\nExecStart=/bin/true\n[X-Argosy]\nKeys=write\n", ""),
    ("the last User= counts", "[Service]\nUser=daemon\nUser=nobody\nExecStart=/bin/true\n[X-Argosy]\nKeys=write\n", "nobody"),
    ("an emptied User= is root", "[Service]\nUser=daemon\nUser=\nExecStart=/bin/true\n[X-Argosy]\nKeys=write\n", ""),
    ("a user by specifier is not known here", SIDEKICK.format(user="%i", keys="write"), ""),
    ("no unit file", "nothing", ""),
    ("a word that is none", SIDEKICK.format(user="nobody", keys="all"), ""),
]


@pytest.mark.parametrize(("_why", "text", "user"), TEXTS, ids=[row[0] for row in TEXTS])
def test_the_user_of_a_unit_that_asks(_why: str, text: str, user: str) -> None:
    assert user_of("a@1.service", text) == user


async def put(house: House, uid: int = STRANGER) -> int:
    return (await curl_as(uid, "-X", "PUT", "-d", "value=1", f"http://{house.address('keys')}/v2/keys/a"))[0]


async def test_a_unit_that_asks_for_it_writes_as_its_user_while_it_is_on_the_machine(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await house.submit("a.service", SIDEKICK.format(user="nobody", keys="write"), target="launched")
        assert await put(house) == 403
        await house.place("a.service", M2)
        assert await put(house) == 403  # it is on another machine
        await house.place("a.service", M1)
        assert await put(house) == 201
        assert await put(house, 2) == 403  # some other user
        await house.unplace("a.service")
        assert await put(house) == 403


async def test_networks_that_the_operator_names_may_write(tmp_path: Path) -> None:
    async with a_house(tmp_path, keys__writers=["127.0.0.0/8"]) as house:
        assert await put(house) == 201
    with pytest.raises(InvalidInput, match=r"\[keys\] writers: 'x' is no network"):
        async with a_house(tmp_path, keys__writers=["x"]):
            pass


@asynccontextmanager
async def program(network: Network, role: str) -> AsyncIterator[Process]:
    """The first process of a container there."""
    inside = ("nsenter", f"--net=/run/netns/{network.names[role]}")
    child = await asyncio.create_subprocess_exec(*inside, "sh", "-c", "echo begun; exec sleep 1000", stdout=PIPE)
    try:
        await line(child, "begun")
        yield child
    finally:
        child.kill()
        await child.wait()


async def status(network: Network, role: str, url: str, *options: str) -> str:
    inside = ("nsenter", f"--net=/run/netns/{network.names[role]}")
    return (await run(*inside, "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *options, url))[1]


PUT = ("-X", "PUT", "-d", "value=1")


@pytest.mark.parametrize(("labelled", "written"), [("container", "201"), ("machine", "403"), ("neighbour", "403")])
async def test_only_the_connections_of_a_labelled_container_write(network: Network, tmp_path: Path, labelled: str, written: str) -> None:
    """A label on another container, or on one with the machine's own network (--net=host), gives this one nothing."""
    await network.bridge()
    async with program(network, labelled) as first, machine(network, tmp_path, f"containers={first.pid}") as (process, port):
        for _ in range(2):
            await line(process, "keys API listening on")
        for address in (BRIDGE, MACHINE):
            url = f"http://{address}:{port}/v2/keys/{address}"
            assert await status(network, "container", url, *PUT) == written
            assert await status(network, "container", f"http://{address}:{port}/v2/keys/") == "200"
            assert await status(network, "container", url, "-X", "DELETE") == ("200" if written == "201" else "403")


async def test_a_user_of_the_machine_gets_no_more_at_the_bridge_than_on_loopback(network: Network, tmp_path: Path) -> None:
    await network.bridge()
    async with program(network, "machine") as host, machine(network, tmp_path, f"containers={host.pid}") as (process, port):
        for _ in range(2):
            await line(process, "keys API listening on")
        for address in (BRIDGE, "127.0.0.1"):
            url = f"http://{address}:{port}/v2/keys/a"
            as_nobody = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")
            inside = ("nsenter", f"--net=/run/netns/{network.names['machine']}")
            asking = ("curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *PUT, url)
            assert (await run(*inside, *as_nobody, *asking))[1] == "403"
            assert (await run(*inside, *asking))[1] in ("200", "201")


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert not is_in_one_of([2**22 + 1], ("172.17.0.2", 4000), ("172.17.0.1", 4001))


async def test_many_who_ask_at_once_cost_two_questions_and_nobody_gets_an_answer_from_before() -> None:
    go = asyncio.Event()
    asked: list[int] = []

    async def ask() -> int:
        asked.append(len(asked))
        await go.wait()
        return len(asked)

    latest = Latest(ask)
    first = asyncio.create_task(latest.get())
    await asyncio.sleep(0)
    others = [asyncio.create_task(latest.get()) for _ in range(100)]
    await asyncio.sleep(0)
    go.set()
    assert await first == 1
    assert set(await asyncio.gather(*others)) == {2}
    assert await latest.get() == 3


async def test_a_question_that_failed_is_asked_again() -> None:
    asked: list[int] = []

    async def ask() -> int:
        asked.append(1)
        if len(asked) == 1:
            raise OSError("away")
        return 7

    latest = Latest(ask)
    with pytest.raises(OSError, match="away"):
        await latest.get()
    assert await latest.get() == 7
