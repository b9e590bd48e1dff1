"""Whatever a server, a unit or a file says, the command line passes nothing on that a terminal would act on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.model import Entry, ExcludedUpstream, Facts, LogLine, RefusedRoute, RouterDetail, RouterReport, Upstream
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put
from tests.api.house import HELLO, M1, M2
from tests.cli.stage import STARTED, Said, Stage, invoke
from tests.cli.test_program import completed, on_a_terminal
from tests.test_terminal import acts_on_terminals

PAYLOADS = {
    "title": "\x1b]0;owned\x07",
    "row": "\nforged.service  11111111.../10.0.0.1  active  running\r\n",
    "eight-bit": "\x9b2J\x9d0;owned\x9c",
    "backwards": "\u202e\u2066evil\u200b",
    "surrogate": "\ud83d",
    "delete": "\x08\x08\x7f\x00",
}
WORDS_OF_STATE = {"launched", "loaded", "inactive", "active", "running", "failed", "dead", M1, M2}
"""Left as they are: the command line has to see a cluster at work. Everything else is spoiled."""


def spoiled(value: Any, payload: str) -> Any:
    if isinstance(value, str):
        return value if value in WORDS_OF_STATE else value + payload
    if isinstance(value, list):
        return [spoiled(item, payload) for item in value]
    if isinstance(value, Mapping):
        return {name: spoiled(item, payload) for name, item in value.items()}
    return value


@asynccontextmanager
async def a_spoiler(stage: Stage, payload: str) -> AsyncIterator[str]:
    """An agent's API that answers what the real one answers, with the payload in every text; errors too."""
    path = stage.folder.parent / "spoiler.sock"

    async def answer(request: web.Request) -> web.Response:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(stage.endpoint.removeprefix("unix://"))) as session,
            session.request(request.method, f"http://argosy{request.raw_path}", data=await request.read() or None,
                            headers={"Content-Type": "application/json"}) as real,
        ):  # fmt: skip
            lines = (await real.text()).strip().split("\n")
            said = "\n".join(json.dumps(spoiled(json.loads(line), payload)) for line in lines if line)
            return web.Response(status=real.status, text=said)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield f"unix://{path}"
    finally:
        await runner.cleanup()


async def furnished(stage: Stage, payload: str = "") -> None:
    """A cluster in which every field that is shown holds something."""
    house = stage.house
    facts = Facts(cores=2, memory=4 * 1024**3, load=0.5, kernel=f"6.1{payload}", os=f"Debian{payload}")
    await house.machine(M1, name=f"m1{payload}", metadata={f"role{payload}": f"web{payload}"}, facts=facts, runtime="systemd", version="1")
    await house.machine(M2)
    await house.submit("hello.service", HELLO, "launched")
    await house.place("hello.service", reason=f"fewest units{payload}")
    await house.observe("hello.service", active="failed", sub="failed", failures=3, result="exit-code", code=2, note=f"disk full{payload}")
    stage.agent.show("hello.service", description=f"Hello{payload}", path=f"/run/x{payload}", main_command="sleep",
                     processes=((42, f"sleep 1{payload}"),))  # fmt: skip
    stage.agent.lines.append(LogLine(STARTED, f"one{payload}", f"hello{payload}", 42))
    await house.submit("db.service", HELLO + "[X-Fleet]\nMachineMetadata=role=db\n", "launched")
    upstream = Upstream("hello", f"hello@1{payload}", f"10.0.0.1:3000{payload}", STARTED)
    refused = RefusedRoute(f"/services/web/x{payload}", f"it holds{payload}")
    excluded = ExcludedUpstream("hello", f"2{payload}", f"10.0.0.2:80{payload}", f"refused{payload}", STARTED)
    stage.router.served = RouterDetail((upstream,), (refused,), {"hello": f"h{payload}"}, (excluded,), (), (f"certificate{payload}",))
    report = RouterReport(M1, routes=1, error=f"nginx says no{payload}")
    alone = RouterReport("x", routes=1, error=f"no{payload}", domain=f"example{payload}", address=f"10.0.0.3{payload}")
    await house.store.commit(
        [],
        [
            Put(keys.router(M1), encode(report)),
            Put(keys.router(M2), encode(RouterReport(M2, routes=1))),
            Put(keys.STANDALONE_ROUTERS + "box", encode(Entry(encode(alone).decode()))),
        ],
    )


VERBS = [
    ("list-machines", "--fields", "machine,ip,metadata,name,state,units,leader,runtime,version,cores,memory,load,kernel,os"),
    ("list-units", "--fields", "unit,machine,active,sub,load,hash,target,since,pid,note", "--full"),
    ("list-unit-files", "--fields", "unit,hash,dstate,state,target,tmachine,global,desc"),
    ("status", "hello", "db", "nothere"),
    ("why", "hello"),
    ("why", "db"),
    ("journal", "hello"),
    ("routes",),
    ("routes", "--full"),
    ("start", "hello", "--block-attempts", "1"),
    ("start", "db", "--block-attempts", "1"),
    ("stop", "--no-block", "hello"),
    ("restart", "nothere"),
    ("restart", "--rolling", "hello", "--timeout", "1"),
    ("unload", "--no-block", "db"),
    ("cordon", "m1"),
    ("drain", "nothere"),
    ("ssh", "nothere"),
    ("destroy", "nothere"),
]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_no_verb_passes_on_what_a_server_says(stage: Stage, payload: str) -> None:
    await furnished(stage)
    async with a_spoiler(stage, payload) as endpoint:
        for words in VERBS:
            said = await stage.run(*words, env={"ARGOSY_ENDPOINT": endpoint})
            shown = said.out + said.err
            assert not acts_on_terminals(shown, "\n"), (words, shown)
            assert not [line for line in shown.split("\n") if line.startswith("forged")], (words, shown)
            assert shown or said.code == 0, words


async def test_json_says_exactly_what_a_server_says(stage: Stage) -> None:
    await furnished(stage)
    payload = "".join(PAYLOADS.values())
    async with a_spoiler(stage, payload) as endpoint:
        for words, path in ((("list-machines",), "machines"), (("list-units",), "units"), (("routes",), "routers")):
            said = await stage.run(*words, "--json", env={"ARGOSY_ENDPOINT": endpoint})
            where = "routes" if path == "routers" else path
            assert json.loads(said.out) == spoiled((await stage.house.own("GET", f"/{where}")).json[path], payload)
            assert not acts_on_terminals(said.out, "\n")


OUR_COLOURS = re.compile(r"\x1b\[(31|32|33)m|\x1b\[0m")


ON_TERMINALS = [
    ("list-machines",),
    ("list-units", "--fields", "unit,note"),
    ("status", "hello"),
    ("cat", "a"),
    ("journal", "hello"),
    ("journal", "-o", "cat", "hello"),
    ("why", "hello"),
    ("routes",),
]


@pytest.mark.parametrize("words", ON_TERMINALS, ids=" ".join)
async def test_on_a_terminal_only_our_own_colours_are_control_sequences(stage: Stage, words: tuple[str, ...]) -> None:
    payload = "".join(text for name, text in PAYLOADS.items() if name != "surrogate")
    await furnished(stage, payload)
    await stage.house.submit("a.service", HELLO + "# owned \u202e\u2066\n", "inactive")
    shown = await on_a_terminal(stage, *words)
    assert not acts_on_terminals(OUR_COLOURS.sub("", shown), "\n"), shown
    assert "owned" in shown
    assert "cat" in words or not [line for line in shown.split("\n") if line.startswith("forged")]


async def test_a_units_file_and_bare_log_lines_are_exact_in_a_pipe(stage: Stage) -> None:
    await furnished(stage)
    text = HELLO + "# owned \u202e\n"
    await stage.house.submit("a.service", text)
    assert await stage.good("cat", "a") == text
    stage.agent.lines = [LogLine(STARTED, "\x1b[32mok\x1b[0m\rdone")]
    assert await stage.good("journal", "-o", "cat", "hello") == "\x1b[32mok\x1b[0m\rdone\n"


async def test_a_record_of_several_lines_is_indented_and_its_colours_are_left_out(stage: Stage) -> None:
    await furnished(stage)
    stage.agent.lines = [LogLine(STARTED, "Traceback:\n\x1b[31m  line 1\x1b[0m\n\tend", "hello", 42)]
    head = "Nov 14 22:13:20 hello[42]: "
    assert await stage.good("journal", "hello") == f"{head}Traceback:\n{' ' * len(head)}  line 1\n{' ' * len(head)}     end\n"


async def test_completion_offers_nothing_that_a_terminal_or_a_shell_would_act_on(stage: Stage) -> None:
    await stage.house.machine(M2, name="m2\x1b]0;owned\x07")
    await stage.house.machine("3" * 32, name="$(reboot)")
    stage.file("new\nplain,forged.service", HELLO)
    stage.file("new;reboot.service", HELLO)
    assert await completed(stage, "argosy drain ", "argosy start new") == [["\\$\\(reboot\\)", "m1"], ["new\\;reboot.service"]]


@pytest.fixture
def evil_file(tmp_path: Path) -> Iterator[str]:
    before = os.getcwd()
    os.chdir(tmp_path)
    name = "a\x1b]0;owned\x07\nforged.service"
    Path(name).write_text("[Service]\nExecStart=/bin/true \x1b[2J\nNo\x9bSuch=1\n[Nothing\u202e]\nx=1\n")
    yield name
    os.chdir(before)


MISTAKES = [("verify", "{}"), ("submit", "{}"), ("start", "./{}"), ("start", "--{}"), ("{}",), ("--{}",), ("images", "{}"),
            ("agent", "--config", "{}"), ("lab", "up", "--metadata", "{}"), ("journal", "a", "-n", "{}")]  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_neither_files_nor_words_of_the_command_line_are_passed_on(evil_file: str, words: tuple[str, ...]) -> None:
    said: Said = invoke(*(word.format(evil_file) for word in words))
    assert said.code != 0
    assert not acts_on_terminals(said.out + said.err, "\n"), said
    assert not [line for line in (said.out + said.err).split("\n") if line.startswith("forged")], said
