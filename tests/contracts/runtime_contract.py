"""The Runtime contract as a test suite: `agent/runtime.py`, sentence by sentence. Every runtime passes all of it.

To run it on a runtime, subclass `RuntimeContract` in a test file (its name must begin with `Test`) and give the fixture `ground`:

    class TestSupervisor(RuntimeContract):
        @pytest.fixture
        async def ground(self, tmp_path: Path) -> AsyncIterator[Ground]:
            async with started_supervisor(tmp_path) as connect:     # connect() -> a Runtime on the same engine, anew each time
                async with on_ground(connect, tmp_path) as ground:
                    yield ground

Units here are run by /bin/sh and sleep only; every wait has a deadline.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from argosy.errors import NotFound, RuntimeFailed
from tests.contracts.launch_contract import LaunchContract
from tests.contracts.runtime_ground import DEADLINE, SLEEPER, Check, Ground, alive, close, eventually, is_running, runs, said, shell

NOTIFIER = """
import os, socket, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
address = os.environ["NOTIFY_SOCKET"]
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect("\\0" + address[1:] if address.startswith("@") else address)
sender.send(b"READY=1\\nSTATUS=serving")
time.sleep(1000)
"""

ENDINGS: Sequence[tuple[str, str, str, str, int | None, str]] = [
    # sentence, text, active, sub, code, result
    ("a service that ends by itself is dead", shell("exit 0"), "inactive", "dead", 0, "success"),
    ("a service that ends with another code has failed", shell("exit 3"), "failed", "failed", 3, "exit-code"),
    ("a code that the unit calls success is one", shell("exit 3", "SuccessExitStatus=3"), "inactive", "dead", 3, "success"),
    ("one killed by a signal has no code", shell("kill -9 $$"), "failed", "failed", None, "signal"),
    ("one that ends by SIGTERM ended cleanly", shell("kill -15 $$"), "inactive", "dead", None, "success"),
    ("a program that does not exist is code 203", "[Service]\nExecStart=/nonexistent/program\n", "failed", "failed", 203, "exit-code"),
    ("... unless a minus forgives it", "[Service]\nExecStart=-/nonexistent/program\n", "inactive", "dead", 0, "success"),
    ("a oneshot that has done its work is dead", shell("exit 0", "Type=oneshot"), "inactive", "dead", 0, "success"),
    ("a oneshot that fails has failed", shell("exit 7", "Type=oneshot"), "failed", "failed", 7, "exit-code"),
    ("RemainAfterExit keeps it active", shell("exit 0", "Type=oneshot", "RemainAfterExit=yes"), "active", "exited", 0, "success"),
    ("a failing ExecStartPre fails the unit", shell("exit 0", "ExecStartPre=/bin/false"), "failed", "failed", None, "exit-code"),
    (
        "a start that takes too long fails",
        shell("sleep 1000", "Type=oneshot", "TimeoutStartSec=300ms"),
        "failed",
        "failed",
        None,
        "timeout",
    ),
]

COMMAND_LINES: Sequence[tuple[str, str, str]] = [
    # sentence, arguments in the unit file, arguments as the program gets them
    ("words are split at blanks", "a  b\tc", "<a><b><c>"),
    ("quotes keep blanks", "'a b' \"c d\"", "<a b><c d>"),
    ("the other quote is plain inside one", "'a \"b' \"c 'd\"", "<a \"b><c 'd>"),
    ("an empty word is a word", "'' x", "<><x>"),
    ("C escapes are read", r"a\x41b \101 \s '\t'", "<aAb><A>< ><\t>"),
    ("a backslash keeps a quote", r'"a\"b"', '<a"b>'),
    ("percent signs are doubled", "100%%", "<100%>"),
    ("specifiers are filled in", "%n %N %p", "<{name}><{stem}><{stem}>"),
    ("${VAR} is filled in anywhere in a word", "x${ONE}y", "<xfirsty>"),
    ("$VAR as a word of its own is split at blanks", "$TWO", "<a><b>"),
    ("${VAR} is not split", "${TWO}", "<a b>"),
    ("$VAR inside a word is left alone", "x$ONE", "<x$ONE>"),
    ("an empty $VAR as a word vanishes", "a $NONE b", "<a><b>"),
    ("an empty ${VAR} stays an empty word", "a ${NONE} b", "<a><><b>"),
    ("two dollars are one", "$$ONE", "<$ONE>"),
    ("there is no shell", r"* ~ | \; > a&b", "<*><~><|><;><>><a&b>"),
    ("a backslash at the end joins lines", "a \\\n  b", "<a><b>"),
]


class RuntimeContract(LaunchContract):
    """Needs the fixture `ground`, see the top of this file."""

    # ------------------------------------------------------------------ load and unload

    async def test_a_loaded_unit_is_known_and_idle(self, ground: Ground) -> None:
        (name,) = await ground.load(app=SLEEPER)
        seen = await ground.see(name)
        assert (seen.load, seen.active, seen.sub, seen.launch, seen.pid, seen.code) == ("loaded", "inactive", "dead", 0, 0, None)
        assert len(seen.hash) == 40

    async def test_units_may_be_asked_for_by_name(self, ground: Ground) -> None:
        app, other = await ground.load(app=SLEEPER, first=SLEEPER)
        assert set(await ground.runtime.units()) == {app, other}
        assert await ground.runtime.units([app, "unknown.service"]) == {app: await ground.see(app)}
        assert await ground.runtime.units([]) == {}

    async def test_comments_do_not_change_the_hash_and_options_do(self, ground: Ground) -> None:
        names = await ground.load(app=SLEEPER, first="# said\n" + SLEEPER, second=SLEEPER + "RestartSec=7\n")
        units = await ground.runtime.units()
        assert units[names[0]].hash == units[names[1]].hash != units[names[2]].hash

    async def test_loading_changed_text_leaves_what_runs_alone_until_the_next_start(self, ground: Ground) -> None:
        name = await ground.run(SLEEPER)
        before = await ground.running(name)
        await ground.load(app="[Service]\nExecStart=/bin/sleep 2000\n")
        after = await ground.running(name)
        assert (after.pid, after.launch) == (before.pid, 0)
        assert after.hash != before.hash
        await ground.runtime.start([(name, 2)])
        again = await ground.until(name, lambda seen: is_running(seen) and seen.pid != before.pid, "running anew")
        await runs(again.pid, "/bin/sleep 2000")

    async def test_loading_the_same_text_again_changes_nothing(self, ground: Ground) -> None:
        name = await ground.run(SLEEPER, launch=2)
        before = await ground.running(name)
        await ground.load(app=SLEEPER)
        assert await ground.see(name) == before

    async def test_unloading_stops_what_runs_and_forgets_it(self, ground: Ground) -> None:
        name = await ground.run(SLEEPER)
        pid = (await ground.running(name)).pid
        await ground.runtime.unload([name, ground.name("never-loaded")])
        assert name not in await ground.runtime.units()
        await eventually(lambda: not alive(pid), "end of the process")
        await ground.load(app=SLEEPER)
        seen = await ground.see(name)
        assert (seen.launch, seen.active, seen.pid) == (0, "inactive", 0)

    async def test_a_failed_unit_unloaded_and_loaded_again_is_as_new(self, ground: Ground) -> None:
        name = await ground.run(shell("exit 3"))
        await ground.ended(name)
        await ground.runtime.unload([name])
        await ground.load(app=SLEEPER)
        seen = await ground.see(name)
        assert (seen.active, seen.launch, seen.code, seen.result) == ("inactive", 0, None, "success")

    @pytest.mark.parametrize(
        "bad", ["../escape.service", "a/b.service", "", ".service", "no-suffix", "a\0b.service", "x" * 300 + ".service", "a b.service"]
    )
    async def test_a_name_that_is_no_unit_name_is_refused_and_its_neighbours_are_loaded(self, ground: Ground, bad: str) -> None:
        good = ground.name("good")
        with pytest.raises(RuntimeFailed) as caught:
            await ground.runtime.load([(bad, SLEEPER), (good, SLEEPER)])
        assert set(caught.value.refused) == {bad}
        assert good in await ground.runtime.units()
        assert bad not in await ground.runtime.units()

    async def test_text_that_holds_a_nul_is_refused(self, ground: Ground) -> None:
        with pytest.raises(RuntimeFailed) as caught:
            await ground.load(app="[Service]\nExecStart=/bin/sleep 1\0000\n")
        assert set(caught.value.refused) == {ground.name("app")}
        assert ground.name("app") not in await ground.runtime.units()

    async def test_a_unit_that_cannot_be_run_says_so_and_harms_no_other(self, ground: Ground) -> None:
        names = await ground.load(app="[Service]\nRestart=no\n", first=SLEEPER)
        bad = await ground.see(names[0])
        assert bad.load != "loaded"
        assert bad.error
        with pytest.raises(RuntimeFailed) as caught:
            await ground.runtime.start([(names[0], 1), (names[1], 1)])
        assert set(caught.value.refused) == {names[0]}
        assert (await ground.see(names[0])).launch == 0
        await ground.running(names[1])

    # ------------------------------------------------------------------ start, stop, kill

    async def test_a_start_runs_the_unit_and_remembers_its_launch(self, ground: Ground) -> None:
        began = time.time()
        name = await ground.run(SLEEPER, launch=5)
        seen = await ground.running(name)
        assert (seen.launch, seen.restarts, seen.result, seen.code) == (5, 0, "success", None)
        await runs(seen.pid, "/bin/sleep 1000")
        assert began - 1 <= seen.started <= seen.since <= time.time() + 1

    async def test_starting_again_restarts(self, ground: Ground) -> None:
        name = await ground.run(SLEEPER, launch=1)
        first = await ground.running(name)
        await ground.runtime.start([(name, 2)])
        second = await ground.until(name, lambda seen: is_running(seen) and seen.pid != first.pid, "running anew")
        assert (second.launch, second.restarts) == (2, 0)
        await eventually(lambda: not alive(first.pid), "end of the first process")

    async def test_start_and_stop_do_not_wait_for_the_jobs_to_end(self, ground: Ground) -> None:
        waiting = "until test -e @dir@/go; do sleep 0.02; done"
        stubborn = f"trap '{waiting}; exit 0' TERM; echo up > @dir@/up; while :; do sleep 0.02; done"
        names = await ground.load(app=shell(waiting, "Type=oneshot"), first=shell(stubborn))
        await ground.runtime.start([(name, 1) for name in names])
        assert (await ground.see(names[0])).active == "activating"
        await ground.text("up")
        await ground.runtime.stop([names[1]])
        assert (await ground.see(names[1])).active == "deactivating"
        (ground.scratch / "go").touch()
        assert [(await ground.ended(name)).result for name in names] == ["success", "success"]

    async def test_a_stop_ends_the_unit_and_its_launch(self, ground: Ground) -> None:
        name = await ground.run(
            shell("trap 'echo bye > @dir@/said; exit 0' TERM; echo up > @dir@/up; while :; do sleep 0.02; done"), launch=3
        )
        await ground.text("up")
        await ground.runtime.stop([name, ground.name("never-loaded")])
        seen = await ground.ended(name)
        assert (seen.active, seen.launch, seen.pid, seen.result) == ("inactive", 0, 0, "success")
        assert await ground.text("said") == "bye\n"
        await ground.runtime.stop([name])

    async def test_stop_commands_are_run(self, ground: Ground) -> None:
        stop = "ExecStop=/bin/sh -c 'echo stop $MAINPID >> @dir@/said'", "ExecStopPost=/bin/sh -c 'echo post >> @dir@/said'"
        name = await ground.run(shell("exec sleep 1000", *stop))
        pid = (await ground.running(name)).pid
        await ground.runtime.stop([name])
        await ground.ended(name)
        assert (ground.scratch / "said").read_text() == f"stop {pid}\npost\n"

    async def test_one_that_will_not_stop_is_killed_after_its_time(self, ground: Ground) -> None:
        name = await ground.run(shell("trap '' TERM; echo up > @dir@/up; while :; do sleep 0.02; done", "TimeoutStopSec=300ms"))
        await ground.text("up")
        await ground.runtime.stop([name])
        seen = await ground.ended(name)
        assert (seen.active, seen.result, seen.pid) == ("failed", "timeout", 0)

    async def test_a_kill_ends_every_process_at_once_and_nothing_restarts(self, ground: Ground) -> None:
        script = (
            "echo $$ >> @dir@/pids; trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >> @dir@/pids; sleep 1000' & while :; do sleep 0.02; done"
        )
        name = await ground.run(shell(script, "Restart=always", "RestartSec=0"))
        pids = [int(word) for word in (await ground.text("pids", 2)).split()]
        await ground.runtime.kill([name, ground.name("never-loaded")])
        seen = await ground.ended(name)
        assert seen.pid == 0
        await eventually(lambda: not any(map(alive, pids)), "end of all processes")
        other = await ground.load(second=SLEEPER)
        await ground.runtime.start([(other[0], 1)])
        await ground.running(other[0])
        assert len((ground.scratch / "pids").read_text().split()) == 2
        assert (await ground.see(name)).active in ("inactive", "failed")

    async def test_a_stop_leaves_no_child_behind(self, ground: Ground) -> None:
        name = await ground.run(shell("sh -c 'echo $$ > @dir@/child; sleep 1000' & wait"))
        child = int(await ground.text("child"))
        await ground.runtime.stop([name])
        await ground.ended(name)
        assert not alive(child)

    async def test_many_units_are_loaded_and_started_at_once(self, ground: Ground) -> None:
        units = [(ground.name(f"many@{number}.service"), SLEEPER) for number in range(30)]
        began = time.monotonic()
        await ground.runtime.load(units)
        await ground.runtime.start([(name, 1) for name, _ in units])
        for name, _ in units:
            await ground.running(name)
        assert time.monotonic() - began < DEADLINE
        await ground.runtime.stop([name for name, _ in units])
        for name, _ in units:
            await ground.ended(name)

    # ------------------------------------------------------------------ how units end

    @pytest.mark.parametrize(("sentence", "text", "active", "sub", "code", "result"), ENDINGS, ids=[row[0] for row in ENDINGS])
    async def test_how_it_ended(
        self, ground: Ground, sentence: str, text: str, active: str, sub: str, code: int | None, result: str
    ) -> None:
        name = await ground.run(text)
        seen = await ground.until(name, lambda seen: (seen.active, seen.sub) == (active, sub) and seen.pid == 0, f"{active} ({sub})")
        assert (seen.code, seen.result, seen.launch) == (code, result, 1), sentence

    async def test_a_failed_unit_is_started_afresh(self, ground: Ground) -> None:
        limits = "StartLimitBurst=2", "StartLimitIntervalSec=1h", "Restart=on-failure", "RestartSec=0"
        name = await ground.run(shell("echo run >> @dir@/runs; test -e @dir@/good && exec sleep 1000; exit 1", *limits))
        twice = "run\nrun\n"  # systemd calls it failed for a moment between the two, as well
        await ground.until(name, lambda seen: seen.active == "failed" and (ground.scratch / "runs").read_text() == twice, "failed twice")
        (ground.scratch / "good").touch()
        await ground.runtime.start([(name, 2)])
        seen = await ground.running(name)
        assert (seen.launch, seen.restarts, seen.result) == (2, 0, "success")

    async def test_the_runtime_restarts_what_asks_for_it_and_counts(self, ground: Ground) -> None:
        name = await ground.run("[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=20ms\n")
        first = await ground.running(name)
        os.kill(first.pid, signal.SIGKILL)
        second = await ground.until(name, lambda seen: is_running(seen) and seen.pid != first.pid, "running anew")
        assert (second.restarts, second.launch) == (1, 1)

    async def test_one_that_ended_well_is_not_restarted_on_failure(self, ground: Ground) -> None:
        name = await ground.run(shell("echo run >> @dir@/runs", "Restart=on-failure", "RestartSec=0"))
        seen = await ground.ended(name)
        assert (seen.active, seen.restarts) == ("inactive", 0)
        assert (ground.scratch / "runs").read_text() == "run\n"

    async def test_a_notifying_unit_is_active_when_it_says_so(self, ground: Ground) -> None:
        script = ground.scratch / "notifier.py"
        script.write_text(NOTIFIER)
        name = await ground.run(f"[Service]\nType=notify\nExecStart={sys.executable} {script} {ground.scratch}/go\n")
        seen = await ground.until(name, lambda seen: seen.pid > 0 and seen.sub == "start", "starting, with a process")
        assert seen.active == "activating"
        (ground.scratch / "go").touch()
        assert (await ground.running(name)).pid == seen.pid

    # ------------------------------------------------------------------ units that depend on others

    @pytest.mark.parametrize("how", ["stopped", "killed from outside"])
    async def test_a_bound_unit_goes_down_with_the_other(self, ground: Ground, how: str) -> None:
        app, sidekick = await ground.load(app=SLEEPER, first="[Unit]\nBindsTo=@app@\nAfter=@app@\n" + SLEEPER)
        await ground.runtime.start([(app, 1), (sidekick, 1)])
        pid = (await ground.running(app)).pid
        await ground.running(sidekick)
        if how == "stopped":
            await ground.runtime.stop([app])
        else:
            os.kill(pid, signal.SIGKILL)
        seen = await ground.ended(sidekick)
        assert (seen.active, seen.result, seen.launch) == ("inactive", "success", 1)
        assert not is_running(await ground.ended(app))

    @pytest.mark.parametrize("how", ["stop the app", "stop both", "restart the app", "restart both", "unload both"])
    async def test_a_sidekick_that_is_after_its_app_is_down_before_the_app_is_told_to_stop_and_up_after_it(
        self, ground: Ground, how: str
    ) -> None:
        app, sidekick = await ground.load(
            app=SLEEPER + 'ExecStop=/bin/sh -c "echo app-down >> @dir@/order"\nExecStartPost=/bin/sh -c "echo app-up >> @dir@/order"\n',
            first="[Unit]\nBindsTo=@app@\nAfter=@app@\n"
            + SLEEPER
            + 'ExecStop=/bin/sh -c "sleep 0.3"\nExecStopPost=/bin/sh -c "echo kick-down >> @dir@/order"\n'
            + 'ExecStartPre=/bin/sh -c "echo kick-up >> @dir@/order"\n',
        )
        await ground.runtime.start([(sidekick, 1), (app, 1)])
        await ground.running(app)
        before = await ground.running(sidekick)
        assert await ground.text("order", 2) == "app-up\nkick-up\n"
        match how:
            case "stop the app":
                await ground.runtime.stop([app])
            case "stop both":
                await ground.runtime.stop([app, sidekick])
            case "restart the app":
                await ground.runtime.start([(app, 2)])
            case "restart both":
                await ground.runtime.start([(app, 2), (sidekick, 2)])
            case _:
                await ground.runtime.unload([app, sidekick])
        again = "restart" in how
        order = "app-up kick-up kick-down app-down" + (" app-up kick-up" if again else "")
        assert (await ground.text("order", 6 if again else 4)).split() == order.split()
        if again:
            after = await ground.until(sidekick, lambda seen: is_running(seen) and seen.pid != before.pid, "running anew")
            assert after.launch == (2 if how == "restart both" else 1)

    async def test_a_part_restarts_with_the_whole_and_keeps_its_launch(self, ground: Ground) -> None:
        app, part = await ground.load(app=SLEEPER, first="[Unit]\nPartOf=@app@\nAfter=@app@\n" + SLEEPER)
        await ground.runtime.start([(app, 1), (part, 1)])
        await ground.running(app)
        before = await ground.running(part)
        await ground.runtime.start([(app, 2)])
        after = await ground.until(part, lambda seen: is_running(seen) and seen.pid != before.pid, "restarted")
        assert after.launch == 1

    async def test_a_required_unit_is_started_too(self, ground: Ground) -> None:
        app, needy = await ground.load(app=SLEEPER, first="[Unit]\nRequires=@app@\nAfter=@app@\n" + SLEEPER)
        await ground.runtime.start([(needy, 1)])
        await ground.running(needy)
        await ground.running(app)

    async def test_what_requires_a_unit_that_fails_is_not_run_and_says_dependency(self, ground: Ground) -> None:
        app, needy = await ground.load(
            app=shell("exit 1", "Type=oneshot"), first=shell("echo ran > @dir@/ran", "Requires=@app@", "After=@app@")
        )
        await ground.runtime.start([(app, 1), (needy, 1)])
        seen = await ground.ended(needy)
        assert (seen.active, seen.result, seen.launch, seen.pid) == ("inactive", "dependency", 1, 0)
        assert (await ground.ended(app)).result == "exit-code"
        assert not (ground.scratch / "ran").exists()
        await ground.load(app=shell("exit 0", "Type=oneshot"))
        await ground.runtime.start([(app, 2), (needy, 2)])
        await ground.text("ran")

    async def test_after_waits_for_the_other_to_be_up(self, ground: Ground) -> None:
        app, late = await ground.load(
            app=shell("sleep 0.3; echo app >> @dir@/order", "Type=oneshot", "RemainAfterExit=yes"),
            first=shell("echo late >> @dir@/order; exec sleep 1000", "After=@app@"),
        )
        await ground.runtime.start([(app, 1), (late, 1)])
        await ground.running(late)
        assert await ground.text("order", 2) == "app\nlate\n"

    # ------------------------------------------------------------------ what commands get

    async def test_command_lines_are_split_and_filled_as_systemd_does(self, ground: Ground) -> None:
        script = ground.scratch / "arguments"
        script.write_text('#!/bin/sh\nout=$1; shift\nprintf "<%s>" "$@" > "$out.new"\nmv "$out.new" "$out"\n')
        script.chmod(0o755)
        environment = 'Environment=ONE=first "TWO=a b" NONE=\n'
        units = [
            (ground.name(f"words{row}"), f"[Service]\nType=oneshot\n{environment}ExecStart={script} {ground.scratch}/out{row} {words}\n")
            for row, (_, words, _) in enumerate(COMMAND_LINES)
        ]
        await ground.runtime.load(units)
        await ground.runtime.start([(name, 1) for name, _ in units])
        got, wanted = {}, {}
        for row, (sentence, _, expected) in enumerate(COMMAND_LINES):
            await ground.ended(units[row][0])
            out = ground.scratch / f"out{row}"
            got[sentence] = out.read_text() if out.exists() else "nothing"
            wanted[sentence] = expected.format(name=units[row][0], stem=units[row][0].removesuffix(".service"))
        assert got == wanted

    async def test_an_instance_knows_its_own_name(self, ground: Ground) -> None:
        name = ground.name("web@blue.1.service")
        await ground.runtime.load([(name, ground.fill("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo %i %p %n > @dir@/said'\n"))])
        await ground.runtime.start([(name, 1)])
        assert await ground.text("said", 3) == f"blue.1 {ground.prefix}-web {name}\n"

    async def test_environment_comes_from_settings_and_files_in_order(self, ground: Ground) -> None:
        (ground.scratch / "vars").write_text('# a comment\nB=file\nC="quoted value"\n\nD=x\n')
        name = await ground.run(
            shell(
                'echo "$A/$B/$C/$D" > @dir@/said; pwd >> @dir@/said',
                "Type=oneshot",
                "Environment=A=1 B=2",
                "Environment=D=%p",
                "EnvironmentFile=@dir@/vars",
                "EnvironmentFile=-@dir@/missing",
                "WorkingDirectory=@dir@",
            )
        )
        assert (await ground.ended(name)).result == "success"
        assert await ground.text("said") == f"1/file/quoted value/x\n{ground.scratch}\n"

    # ------------------------------------------------------------------ logs and detail

    async def test_logs_hold_both_outputs_in_order_and_as_many_lines_as_asked(self, ground: Ground) -> None:
        name = await ground.run(shell("echo one; echo two >&2; printf 'a\\tb \\377 c\\n'; echo four; exec sleep 1000"))
        texts = await said(ground, name, 4)
        assert texts == ["one", "two", "a\tb \N{REPLACEMENT CHARACTER} c", "four"]
        last = [line async for line in ground.runtime.logs(name, 1000, False) if line.pid and line.text in ("four", "two")]
        assert [line.text for line in last] == ["two", "four"]
        assert all(abs(line.time - time.time()) < 60 for line in last)
        assert len([line async for line in ground.runtime.logs(name, 2, False)]) == 2

    async def test_followed_logs_grow(self, ground: Ground) -> None:
        name = await ground.run(shell("n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done"))
        follower = ground.runtime.logs(name, 5, True)
        ticks: list[str] = []
        async with asyncio.timeout(DEADLINE):
            async for line in follower:
                if line.text.startswith("tick"):
                    ticks.append(line.text)
                if len(ticks) >= 12:
                    break
        await close(follower)
        numbers = [int(tick.split()[1]) for tick in ticks]
        assert numbers == list(range(numbers[0], numbers[0] + 12))

    async def test_detail_shows_all_processes(self, ground: Ground) -> None:
        name = await ground.run(shell("sleep 1001 & sleep 1002 & echo up > @dir@/up; wait", "Description=Says little"))
        await ground.text("up")
        seen = await ground.running(name)
        end = time.monotonic() + DEADLINE
        commands: dict[int, str] = {}
        while not {"sleep 1001", "sleep 1002"} <= set(commands.values()):
            assert time.monotonic() < end, commands
            detail = await ground.runtime.detail(name)
            commands = dict(detail.processes)
        assert detail.observed.pid == seen.pid
        assert detail.description == "Says little"
        assert "/bin/sh" in detail.main_command
        assert seen.pid in commands

    async def test_detail_of_an_unknown_unit_is_not_found(self, ground: Ground) -> None:
        with pytest.raises(NotFound):
            await ground.runtime.detail(ground.name("nobody"))

    # ------------------------------------------------------------------ changes, and agents that come and go

    async def test_changes_name_all_units_at_once_and_then_each_that_changes(self, ground: Ground) -> None:
        app, other = await ground.load(app=shell("until test -e @dir@/go; do sleep 0.02; done; exit 4"), first=SLEEPER)
        changes = ground.runtime.changes()
        async with asyncio.timeout(DEADLINE):
            assert await anext(changes) >= {app, other}
            await ground.runtime.start([(app, 1)])
            await self._pushed(ground, changes, app, is_running)
            (ground.scratch / "go").touch()
            await self._pushed(ground, changes, app, lambda seen: seen.active == "failed" and seen.code == 4)
            await ground.runtime.unload([other])
            while other not in await anext(changes):
                pass
        await close(changes)

    async def _pushed(self, ground: Ground, changes: AsyncIterator[frozenset[str]], name: str, check: Check) -> None:
        """A push that names the unit comes when, or after, it looks as wanted."""
        while True:
            if name in await anext(changes) and check(await ground.see(name)):
                return

    async def test_two_may_watch_at_once(self, ground: Ground) -> None:
        (name,) = await ground.load(app=SLEEPER)
        watchers = [ground.runtime.changes(), ground.runtime.changes()]
        async with asyncio.timeout(DEADLINE):
            for watcher in watchers:
                await anext(watcher)
            await ground.runtime.start([(name, 1)])
            for watcher in watchers:
                await self._pushed(ground, watcher, name, is_running)
        for watcher in watchers:
            await close(watcher)

    async def test_a_runtime_made_anew_finds_everything_as_it_was(self, ground: Ground) -> None:
        names = await ground.load(
            app=SLEEPER,
            first=shell("exit 3"),
            second=shell("exit 0", "Type=oneshot"),
            remains=shell(":", "Type=oneshot", "RemainAfterExit=yes"),
        )
        loaded = await ground.load(idle=SLEEPER)
        await ground.runtime.start([(name, 4) for name in names])
        await ground.running(names[0])
        for name in names[1:3]:
            await ground.ended(name)
        await ground.until(names[3], lambda seen: seen.sub == "exited", "exited")
        before = await ground.runtime.units()
        await ground.runtime.close()
        ground.runtime = await ground.connect()
        after = await ground.runtime.units()
        assert {name: after[name] for name in (*names, *loaded)} == {name: before[name] for name in (*names, *loaded)}

    async def test_what_ended_while_nobody_watched_is_known_afterwards(self, ground: Ground) -> None:
        waiting = "until test -e @dir@/go; do sleep 0.02; done"
        names = await ground.load(
            app=shell(f"{waiting}; echo done >> @dir@/ends", "Type=oneshot"), first=shell(f"{waiting}; echo done >> @dir@/ends; exit 5")
        )
        await ground.runtime.start([(name, 1) for name in names])
        await ground.until(names[0], lambda seen: seen.active == "activating", "activating")
        await ground.running(names[1])
        await ground.runtime.close()
        (ground.scratch / "go").touch()
        await ground.text("ends", 2)
        ground.runtime = await ground.connect()
        first, second = await ground.ended(names[0]), await ground.ended(names[1])
        assert (first.active, first.code, first.result, first.launch) == ("inactive", 0, "success", 1)
        assert (second.active, second.code, second.result, second.launch) == ("failed", 5, "exit-code", 1)
