"""The verbs that move units, from what is typed to what is printed."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from argosy.state import desired
from tests.api.house import GLOBAL, HELLO, M1, M2, OTHER
from tests.cli.stage import Stage
from tests.stored import follow_units

WHERE = "11111111.../10.0.0.1"
THERE = "22222222.../10.0.0.2"


async def target(stage: Stage, name: str) -> str:
    stored = await desired.unit(stage.house.store, name)
    return stored.unit.target.value if stored else "none"


async def text(stage: Stage, name: str) -> str:
    stored = await desired.unit(stage.house.store, name)
    assert stored is not None
    return stored.unit.text


async def test_the_life_of_a_unit(stage: Stage) -> None:
    stage.file("hello.service", HELLO)
    async with stage.obedient():
        assert await stage.good("submit", "hello.service") == "Unit hello.service inactive\n"
        assert await stage.good("load", "hello") == f"Unit hello.service loaded on {WHERE}\n"
        assert await stage.good("start", "hello") == f"Unit hello.service launched on {WHERE}\n"
        assert await stage.good("start", "hello") == f"Unit hello.service launched on {WHERE}\n"
        assert await stage.good("restart", "hello") == f"Unit hello.service launched on {WHERE}\n"
        assert await stage.good("stop", "hello") == f"Unit hello.service loaded on {WHERE}\n"
        assert await stage.good("restart", "hello") == f"Unit hello.service launched on {WHERE}\n"
        assert await stage.good("unload", "hello") == "Unit hello.service inactive\n"
        assert await stage.good("destroy", "hello") == "Destroyed hello.service\n"
        assert await target(stage, "hello.service") == "none"


async def test_a_restart_is_a_launch_more_and_starting_what_runs_is_not(stage: Stage) -> None:
    stage.file("hello.service", HELLO)
    launches = []
    async with stage.obedient():
        for verb in ("start", "start", "restart"):
            await stage.good(verb, "hello")
            stored = await desired.unit(stage.house.store, "hello.service")
            assert stored is not None
            launches.append(stored.unit.launch)
    assert launches == [1, 1, 2]


async def test_files_are_named_by_path_too_and_kept_byte_for_byte(stage: Stage) -> None:
    odd = "# a comment\r\n" + HELLO + "\n\n"
    stage.file("deep/hello.service", "").write_bytes(odd.encode())
    async with stage.obedient():
        await stage.good("start", "deep/hello.service")
    assert await text(stage, "hello.service") == odd
    process = await stage.start("cat", "deep/hello.service")
    assert await process.communicate() == (odd.encode(), b"")


async def test_a_hundred_and_twenty_instances_at_once(stage: Stage) -> None:
    stage.file("hello@.service", HELLO)
    names = [f"hello@{number}" for number in range(1, 121)]
    async with stage.obedient():
        lines = (await stage.good("start", *names)).splitlines()
    assert sorted(lines) == sorted(f"Unit {name}.service launched on {WHERE}" for name in names)


async def test_an_instance_takes_the_clusters_template_before_the_one_here(stage: Stage) -> None:
    await stage.house.submit("hello@.service", HELLO)
    stage.file("hello@.service", OTHER)
    async with stage.obedient():
        said = await stage.run("start", "hello@1")
        assert (said.code, said.out) == (0, f"Unit hello@1.service launched on {WHERE}\n")
        assert said.err == (
            "WARNING: Unit hello@.service in registry differs from local template unit file hello@.service. Add --replace to override.\n"
        )
        assert await text(stage, "hello@1.service") == HELLO
        await stage.good("start", "--replace", "hello@2")
        assert await text(stage, "hello@2.service") == OTHER


async def test_a_file_that_differs_is_warned_of_and_sent_only_if_asked(stage: Stage) -> None:
    await stage.house.submit("hello.service", HELLO)
    stage.file("hello.service", OTHER)
    said = await stage.run("submit", "hello.service")
    assert said == (
        0,
        "Unit hello.service inactive\n",
        "WARNING: Unit hello.service in registry differs from local unit file hello.service. Add --replace to override.\n",
    )
    assert await text(stage, "hello.service") == HELLO
    await stage.good("submit", "--replace", "hello.service")
    assert await text(stage, "hello.service") == OTHER
    assert await stage.good("submit", "--replace", "hello.service") == (
        "Found same Unit(hello.service) in Registry, nothing to do\nUnit hello.service inactive\n"
    )


async def test_comments_make_no_difference(stage: Stage) -> None:
    await stage.house.submit("hello.service", HELLO)
    stage.file("hello.service", "# mine\n" + HELLO)
    assert await stage.good("submit", "hello.service") == "Unit hello.service inactive\n"


@pytest.mark.parametrize(
    ("verb", "state", "remedy"),
    [("submit", "launched", "start"), ("submit", "loaded", "load"), ("load", "launched", "start")],
)
async def test_a_verb_replaces_no_unit_that_is_further_than_it_goes(stage: Stage, verb: str, state: str, remedy: str) -> None:
    await stage.house.submit("hello.service", HELLO, state)
    stage.file("hello.service", OTHER)
    said = await stage.run(verb, "--replace", "hello.service")
    assert said == (
        1,
        "",
        (
            f"Error: can not replace Unit(hello.service) in state '{state}', use the appropriate command\n"
            f"  argosy {remedy} --replace hello.service\n"
        ),
    )
    assert await text(stage, "hello.service") == HELLO
    assert await target(stage, "hello.service") == state


async def test_starting_with_replace_changes_the_text_of_a_running_unit(stage: Stage) -> None:
    stage.file("hello.service", HELLO)
    async with stage.obedient():
        await stage.good("start", "hello")
        stage.file("hello.service", OTHER)
        assert await stage.good("start", "--replace", "hello") == f"Unit hello.service launched on {WHERE}\n"
    assert await text(stage, "hello.service") == OTHER


REFUSED: list[tuple[str, list[str], int, str]] = [
    ("unknown", ["start", "nothere"], 1, "Error: unit nothere.service does not exist\n  submit its file first\n"),
    ("instance of nothing", ["start", "no@1"], 1, "Error: unit no@1.service does not exist, and neither does its template no@.service\n"),
    (
        "template",
        ["start", "hello@.service"],
        2,
        'Error: cannot activate template "hello@.service"\n  name an instance, such as hello@1.service\n',
    ),
    (
        "stop what is unknown",
        ["stop", "nothere"],
        1,
        "Error: unit nothere.service does not exist\n  argosy list-unit-files shows those that do\n",
    ),
    (
        "stop what is inactive",
        ["stop", "idle"],
        1,
        "Error: Unable to stop unit idle.service in state inactive\n  argosy start idle.service starts it\n",
    ),
    ("restart what is inactive", ["restart", "idle"], 1, "Error: Unable to restart unit idle.service in state inactive\n"),
    ("unload what is unknown", ["unload", "nothere"], 1, "Error: unit nothere.service does not exist\n"),
    ("destroy what is unknown", ["destroy", "nothere"], 1, "Error: unit nothere.service does not exist\n"),
    ("cat what is unknown", ["cat", "nothere"], 1, "Error: unit nothere.service does not exist\n"),
    (
        "why what is unknown",
        ["why", "nothere"],
        1,
        "Error: unit nothere.service does not exist\n  argosy list-unit-files shows those that do\n",
    ),
    ("submit without a file", ["submit", "nothere"], 2, "Error: no file for nothere.service in this folder\n  name a file that exists\n"),
    (
        "a path of nothing",
        ["start", "deep/nothere.service"],
        2,
        "Error: no file deep/nothere.service\n  name a unit file, or the unit alone: nothere.service\n",
    ),
    ("a way out", ["start", "../../etc/passwd"], 2, "Error: no file ../../etc/passwd\n"),
    ("a bad name", ["stop", "a b"], 2, "Error: unit name 'a b.service' holds ' '; letters, digits and : - _ . \\ @ are allowed\n"),
    ("a long name", ["start", "x" * 300], 2, "Error: unit name '"),
    ("a binary file", ["start", "elf.service"], 2, "Error: elf.service: line 1: a NUL byte; this is a binary file, not a unit file\n"),
    ("an empty file", ["start", "empty.service"], 2, "Error: empty.service: the file is empty\n"),
    ("a large file", ["submit", "large.service"], 2, "Error: large.service: the unit file has 1000010 bytes; the most is 262144 (256 KiB)"),
    (
        "a wrong suffix",
        ["start", "notes.txt"],
        2,
        "Error: notes.txt is not named as a unit file\n  the names of unit files end in .service",
    ),
    ("contradictions", ["start", "both.service"], 2, "Error: unit both.service: Global cannot be used with Peers"),
]


@pytest.mark.parametrize(("why", "words", "code", "said"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_what_is_refused_says_why_and_what_to_do(stage: Stage, why: str, words: list[str], code: int, said: str) -> None:
    await stage.house.submit("hello@.service")
    await stage.house.submit("idle.service")
    stage.file("elf.service", "").write_bytes(b"\x7fELF\x00\x01")
    stage.file("empty.service", "")
    stage.file("large.service", "[Service]\n" + "x" * 1_000_000)
    stage.file("notes.txt", HELLO)
    stage.file("both.service", HELLO + "[X-Fleet]\nGlobal=true\nMachineOf=x.service\n")
    result = await stage.run(*words)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(said), result.err


async def test_one_bad_unit_among_good_ones_is_told_and_the_others_go_on(stage: Stage) -> None:
    stage.file("hello.service", HELLO)
    async with stage.obedient():
        said = await stage.run("start", "hello", "nothere")
    assert said == (
        1,
        f"Unit hello.service launched on {WHERE}\n",
        "Error: unit nothere.service does not exist\n  submit its file first\n",
    )
    said = await stage.run("destroy", "nothere", "hello")
    assert (said.code, said.out) == (1, "Destroyed hello.service\n")


@pytest.mark.parametrize("options", [(), ("--no-block",)])
async def test_when_all_are_refused_nothing_is_waited_for(stage: Stage, options: tuple[str, ...]) -> None:
    await stage.house.submit("other.service")
    said = await stage.run("start", *options, "a", "b")
    assert (said.code, said.out) == (1, "")
    assert said.err.count("does not exist") == 2


async def test_without_blocking_it_says_what_it_triggered(stage: Stage) -> None:
    stage.file("hello.service", HELLO)
    stage.file("every.service", GLOBAL)
    assert await stage.good("start", "--no-block", "hello", "every") == (
        "Triggered global unit every.service start\nTriggered unit hello.service start\n"
    )
    assert await stage.good("stop", "--no-block", "hello") == "Triggered unit hello.service stop\n"
    assert await stage.good("unload", "--no-block", "hello") == "Triggered unit hello.service unload\n"
    assert await target(stage, "hello.service") == "inactive"


async def test_a_global_unit_is_waited_for_on_every_machine(stage: Stage) -> None:
    await stage.house.machine(M2)
    stage.file("every.service", GLOBAL)
    async with stage.obedient(M1, M2):
        lines = (await stage.good("start", "every")).splitlines()
    assert sorted(lines) == [f"Unit every.service launched on {WHERE}", f"Unit every.service launched on {THERE}"]


async def test_a_start_that_fails_says_how_and_where_to_look(stage: Stage) -> None:
    await stage.house.submit("hello.service", HELLO, "launched")
    await stage.house.place("hello.service")
    await stage.house.observe("hello.service", active="activating", sub="start")
    waits = asyncio.create_task(stage.run("start", "hello"))
    await asyncio.wait((waits,), timeout=0.5)  # it waits for what has begun
    await stage.house.observe("hello.service", active="failed", sub="failed", result="exit-code", code=7)
    assert await asyncio.wait_for(waits, 20) == (
        1,
        "",
        f"Unit hello.service failed on {WHERE}: exit status 7\n  argosy status hello.service and argosy journal hello.service tell more\n",
    )


@pytest.mark.parametrize("how", [{"active": "failed", "result": "exit-code", "code": 7}, {"active": "inactive", "code": 0}])
async def test_a_unit_that_does_not_run_is_started_anew_as_by_systemctl(stage: Stage, how: dict[str, Any]) -> None:
    await stage.house.submit("hello.service", HELLO, "launched")
    await stage.house.place("hello.service")
    await stage.house.observe("hello.service", sub="dead", **how)
    process = await stage.start("start", "hello")
    async with asyncio.timeout(20):
        async for changes in follow_units(stage.house.store, stage.house.clock):
            if (unit := changes.items.get("hello.service")) is not None and unit.launch == 2:
                break
        await stage.house.obey("hello.service")
        out, err = await process.communicate()
    assert (out.decode(), err.decode()) == (f"Unit hello.service launched on {WHERE}\n", "")


async def test_giving_up_says_why_no_machine_takes_the_unit(stage: Stage) -> None:
    stage.file("db.service", HELLO + "[X-Fleet]\nMachineMetadata=role=db\n")
    said = await stage.run("start", "--block-attempts", "1", "db")
    assert said == (
        1,
        "",
        (
            "Unit db.service is waiting: no machine fits: the only one refuses it\n"
            "  m1: local Machine metadata insufficient: role=db is required, it has no role\n"
            "Error: gave up waiting for db.service: no machine has taken it yet\n"
        ),
    )


async def test_giving_up_on_a_unit_that_is_placed_says_what_its_machine_does(stage: Stage) -> None:
    await stage.house.submit("hello.service", HELLO, "launched")
    await stage.house.place("hello.service")
    await stage.house.observe("hello.service", active="activating", sub="start-pre")
    said = await stage.run("start", "--block-attempts", "1", "hello")
    assert said == (1, "", f"Error: gave up waiting for hello.service: activating (start-pre) on {WHERE}\n")


async def test_ctrl_c_ends_the_waiting_and_not_the_unit(stage: Stage) -> None:
    for name in ("a.service", "b.service"):
        await stage.house.submit(name, HELLO, "launched")
        await stage.house.place(name)
    await stage.house.observe("a.service")
    process = await stage.start("start", "a", "b")
    assert process.stdout is not None
    assert await process.stdout.readline() == f"Unit a.service launched on {WHERE}\n".encode()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out.decode()) == (130, "")
    assert err.decode() == "Not waiting any longer for b.service; what was asked for goes on. See: argosy list-units\n"
    assert await target(stage, "b.service") == "launched"


@pytest.mark.parametrize("verb", ["submit", "load", "start"])
async def test_warnings_of_verify_are_shown_when_a_file_is_given(stage: Stage, verb: str) -> None:
    stage.file("hello.service", HELLO + "[X-fleet]\nGlobal=true\n[X-Fleet]\nMachineID=m1\n")
    async with stage.obedient():
        said = await stage.run(verb, *(["--no-block"] if verb != "submit" else []), "hello.service")
    assert said.code == 0, said
    warned = [line for line in said.err.splitlines() if line.startswith("WARNING: hello.service:")]
    assert [("[X-Fleet]" in line, "machine id" in line) for line in warned] == [(True, False), (False, True)]


async def test_dropins_are_part_of_what_the_cluster_keeps(stage: Stage) -> None:
    stage.file("hello.service", HELLO)
    stage.file("hello.service.d/user.conf", "[Service]\nUser=nobody\n")
    await stage.good("submit", "hello.service")
    assert await text(stage, "hello.service") == f"{HELLO.rstrip()}\n# hello.service.d/user.conf\n[Service]\nUser=nobody\n"
