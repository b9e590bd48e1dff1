"""argosy status and journal, from any machine, to the letter."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from argosy.api.shapes import LocalStatus
from argosy.model import Detail, LogLine, Observed
from tests.api.house import GLOBAL, HELLO, M1, M2
from tests.cli.stage import STARTED, Stage


async def running(stage: Stage, name: str = "hello.service", text: str = HELLO, machine: str = M1) -> None:
    await stage.house.submit(name, text, "launched")
    await stage.house.place(name, machine)
    await stage.house.observe(name, machine)


async def test_a_running_unit_as_systemctl_would_show_it(stage: Stage) -> None:
    await running(stage)
    now = stage.house.clock.now()
    stage.agent.show(
        "hello.service",
        description="Hello",
        path="/run/argosy/units/hello.service",
        main_command="/usr/bin/python3 hello.py",
        processes=((42, "/usr/bin/python3 hello.py"), (43, "sleep 1")),
        memory=10_400_000,
        cpu=0.25,
        since=now - 65,
        restarts=2,
    )
    stage.agent.say("listening", "GET /")
    out = (await stage.good("status", "hello")).splitlines()
    assert out[2].startswith("     Active: active (running) since ")
    assert out[2].endswith(" UTC; 1min 5s ago")
    assert [*out[:2], *out[3:]] == [
        "● hello.service - Hello",
        "     Loaded: loaded (/run/argosy/units/hello.service)",
        "    Machine: 11111111.../10.0.0.1 (m1)",
        "   Restarts: 2",
        "   Main PID: 42 (python3)",
        "      Tasks: 2",
        "     Memory: 9.9M",
        "        CPU: 250ms",
        "  Processes: ├─42 /usr/bin/python3 hello.py",
        "             └─43 sleep 1",
        "",
        "Nov 14 22:13:20 hello[42]: listening",
        "Nov 14 22:13:21 hello[42]: GET /",
    ]


async def test_a_failed_unit_says_how_and_exits_with_3(stage: Stage) -> None:
    await stage.house.submit("hello.service", HELLO, "launched")
    await stage.house.place("hello.service")
    await stage.house.observe("hello.service", active="failed", sub="failed", failures=3, result="exit-code", code=7, note="disk full")
    stage.agent.show("hello.service", active="failed", sub="failed", result="exit-code", code=7, pid=0, since=0.0)
    said = await stage.run("status", "hello", "--lines", "0")
    assert said == (
        3,
        (
            "× hello.service - Hello\n"
            "     Loaded: loaded\n"
            "     Active: failed (Result: exit-code)\n"
            "    Machine: 11111111.../10.0.0.1 (m1)\n"
            "    Trouble: failed 3 times in a row: exit status 7 (disk full)\n"
            "    Process: code=exited, status=7\n"
        ),
        "",
    )


async def test_a_unit_on_several_machines_is_asked_for_on_each(stage: Stage) -> None:
    await stage.house.machine(M2)
    await stage.house.machine("3" * 32)
    await stage.house.submit("every.service", GLOBAL, "launched")
    await stage.house.place("every.service", M1, M2, "3" * 32)
    stage.agent.show("every.service")
    there = Observed("every.service", active="inactive", code=0)
    stage.others.answers[M2] = LocalStatus(Detail(there), [LogLine(STARTED, "bye"), LogLine(error="the log is damaged")])
    said = await stage.run("status", "every")
    assert said.code == 3
    pages = said.out.split("\n\n")
    assert pages[0].startswith("● every.service\n")
    assert pages[1].startswith(
        "○ every.service\n     Loaded: loaded\n     Active: inactive (dead)\n    Machine: 22222222.../10.0.0.2 (m2)\n"
    )
    assert "    Process: code=exited, status=0/SUCCESS" in pages[1]
    assert pages[2] == "Nov 14 22:13:20 every: bye\n-- the log is damaged --"
    assert pages[3] == (
        "? every.service\n"
        "    Machine: 33333333.../10.0.0.3 (m3)\n"
        "      Error: machine m3 cannot be asked: connection refused (is its agent running?)\n"
    )


async def test_a_unit_that_is_nowhere(stage: Stage) -> None:
    await stage.house.submit("a.service", HELLO, "launched")
    await stage.house.submit("b.service", HELLO)
    said = await stage.run("status", "a", "b")
    assert said == (
        3,
        (
            "○ a.service - Hello\n"
            "     Loaded: on no machine (waiting for a machine)\n"
            "     Target: launched (argosy why a.service)\n"
            "\n"
            "○ b.service - Hello\n"
            "     Loaded: on no machine (not asked for)\n"
            "     Target: inactive (argosy start b.service)\n"
        ),
        "",
    )


async def test_an_unknown_unit_is_told_beside_those_that_there_are(stage: Stage) -> None:
    await running(stage)
    stage.agent.show("hello.service")
    said = await stage.run("status", "nothere", "hello")
    assert said.code == 4
    assert said.out.startswith("● hello.service")
    assert said.err == "Error: unit nothere.service does not exist\n  argosy list-unit-files shows those that do\n"


async def test_many_processes_are_cut_short(stage: Stage) -> None:
    await running(stage)
    stage.agent.show("hello.service", processes=tuple((number, f"worker {number}") for number in range(100, 150)))
    out = (await stage.good("status", "hello")).splitlines()
    assert "      Tasks: 50" in out
    assert out[-1] == "             └─ and 30 more"


async def test_status_as_json(stage: Stage) -> None:
    await running(stage)
    stage.agent.show("hello.service")
    one = json.loads(await stage.good("status", "hello", "--json"))
    assert one["unit"]["name"] == "hello.service"
    assert one["machines"][0]["detail"]["observed"]["pid"] == 42
    await running(stage, "b.service")
    stage.agent.show("b.service")
    assert [answer["unit"]["name"] for answer in json.loads(await stage.good("status", "hello", "b", "--json"))] == [
        "hello.service",
        "b.service",
    ]


FORMS: list[tuple[tuple[str, ...], str]] = [
    ((), "Nov 14 22:13:20 hello[42]: one\nNov 14 22:13:21 hello[42]: zwei €\n"),
    (("-n", "1"), "Nov 14 22:13:21 hello[42]: zwei €\n"),
    (("--lines", "0"), ""),
    (("--output", "cat"), "one\nzwei €\n"),
    (("-o", "json", "-n1"), '{"time": 1700000001.0, "text": "zwei €", "source": "hello", "pid": 42}\n'),
    (("--json", "-n1"), '{"time": 1700000001.0, "text": "zwei €", "source": "hello", "pid": 42}\n'),
    (("--machine", "m1", "-o", "cat"), "one\nzwei €\n"),
    (("--sudo", "--ssh-port", "22", "-o", "cat"), "one\nzwei €\n"),
]


@pytest.mark.parametrize(("options", "out"), FORMS, ids=[" ".join(row[0]) for row in FORMS])
async def test_a_journal(stage: Stage, options: tuple[str, ...], out: str) -> None:
    await running(stage)
    stage.agent.say("one", "zwei €")
    assert await stage.good("journal", "hello", *options) == out


async def test_a_journal_of_a_unit_that_is_nowhere_or_on_several_machines(stage: Stage) -> None:
    await stage.house.submit("a.service", HELLO, "launched")
    said = await stage.run("journal", "a")
    assert said == (1, "", "Error: unit a.service is on no machine\n  argosy why a.service says why\n")
    await stage.house.machine(M2)
    await stage.house.submit("every.service", GLOBAL, "launched")
    await stage.house.place("every.service", M1, M2)
    said = await stage.run("journal", "every")
    assert said.code == 2
    assert said.err.startswith("Error: unit every.service is on 2 machines: ")
    assert said.err.endswith("\n  choose one of them with --machine\n")


async def test_following_a_journal_until_ctrl_c(stage: Stage) -> None:
    await running(stage)
    stage.agent.say("one")
    process = await stage.start("journal", "-f", "-o", "cat", "hello")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"one\n"
    for text in ("two", "three"):
        stage.agent.more.put_nowait(LogLine(STARTED, text))
        assert await process.stdout.readline() == f"{text}\n".encode()
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


async def test_a_journal_that_is_followed_and_ends_says_so(stage: Stage) -> None:
    await running(stage)
    stage.agent.say("one")
    stage.agent.more.put_nowait(None)
    said = await stage.run("journal", "-f", "hello")
    assert said == (
        1,
        "Nov 14 22:13:20 hello[42]: one\n",
        "Error: the log of hello.service has ended\n  it may have moved: argosy journal -f hello.service asks again\n",
    )


async def test_a_follower_ends_with_the_reader_of_its_pipe(stage: Stage) -> None:
    await running(stage)
    stage.agent.say("one")
    process = await stage.start("journal", "-f", "hello")
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]
    for _ in range(50):
        stage.agent.more.put_nowait(LogLine(STARTED, "more"))
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(process.wait(), 10) == 1
