"""What the supervisor and its units live through: kill -9, again and again, lost files, a reboot, a full disk, a newer version."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.agent.supervise.cut import cut
from argosy.errors import RuntimeFailed
from argosy.files import staged
from tests.agent.supervisor_ground import Own, own_supervisor
from tests.contracts.runtime_ground import SLEEPER, alive, close, eventually, is_running, said, shell


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Own]:
    async with own_supervisor(tmp_path) as own:
        yield own


async def test_units_outlive_their_supervisor_and_the_next_one_takes_them_over(own: Own) -> None:
    names = await own.load(app=SLEEPER, first=shell("while :; do sleep 0.02; done", "Restart=always"), second=shell("exit 3"))
    await own.runtime.start([(name, 4) for name in names])
    running = [await own.running(name) for name in names[:2]]
    ended = await own.ended(names[2])
    for _ in range(2):
        before = own.pid
        await own.kill_supervisor()
        assert all(alive(seen.pid) for seen in running)
        assert [await own.see(name) for name in names] == [*running, ended], "the first call has started another supervisor"
        assert own.pid != before


async def test_a_unit_that_dies_after_a_kill_is_restarted_by_the_next_supervisor(own: Own) -> None:
    name = await own.run("[Service]\nExecStart=/bin/sleep 1000\nRestart=on-failure\nRestartSec=0\n")
    first = await own.running(name)
    await own.kill_supervisor()
    await own.see(name)
    os.kill(first.pid, signal.SIGKILL)
    second = await own.until(name, lambda seen: is_running(seen) and seen.pid != first.pid, "running anew")
    assert (second.restarts, second.launch) == (1, 1)


async def test_a_unit_that_dies_while_there_is_no_supervisor_has_failed_for_unknown_reasons(own: Own) -> None:
    names = await own.load(app=SLEEPER, first=SLEEPER + "Restart=on-failure\n")
    await own.runtime.start([(name, 1) for name in names])
    pids = [(await own.running(name)).pid for name in names]
    await own.kill_supervisor()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    await eventually(lambda: not any(map(Path.exists, (Path(f"/proc/{pid}") for pid in pids))), "end of the processes")
    seen = await own.ended(names[0])
    assert (seen.active, seen.result, seen.code, seen.launch) == ("failed", "exit-code", None, 1)
    again = await own.until(names[1], lambda seen: is_running(seen) and seen.pid != pids[1], "running anew")
    assert again.restarts == 1


async def test_the_next_supervisor_learns_how_a_process_that_is_not_its_child_ended(own: Own) -> None:
    name = await own.run(shell("until test -e @dir@/go; do sleep 0.02; done; exit 7"))
    await own.running(name)
    await own.kill_supervisor()
    await own.see(name)
    (own.scratch / "go").touch()
    seen = await own.ended(name)
    assert (seen.active, seen.result) == ("failed", "exit-code")
    assert seen.code in (7, None), "None where the kernel is older than 6.15 and somebody else was quicker to reap it"


async def test_a_stop_that_was_begun_is_gone_on_with(own: Own) -> None:
    name = await own.run(shell("trap '' TERM; echo up > @dir@/up; while :; do sleep 0.02; done", "TimeoutStopSec=500ms"))
    await own.text("up")
    await own.runtime.stop([name])
    await own.kill_supervisor()
    seen = await own.ended(name)
    assert (seen.active, seen.result, seen.pid) == ("failed", "timeout", 0)


async def test_a_start_that_waits_is_not_forgotten(own: Own) -> None:
    app, late = await own.load(
        app=shell("until test -e @dir@/go; do sleep 0.02; done", "Type=oneshot", "RemainAfterExit=yes"),
        first=shell("exec sleep 1000", "After=@app@"),
    )
    await own.runtime.start([(app, 1), (late, 1)])
    assert (await own.see(late)).active == "activating"
    await own.kill_supervisor()
    assert (await own.see(late)).active == "activating"
    (own.scratch / "go").touch()
    await own.running(late)


async def test_children_with_sessions_of_their_own_are_found_after_a_kill_too(own: Own) -> None:
    name = await own.run(shell("setsid sh -c 'echo $$ > @dir@/child; exec sleep 1000' & exec sleep 1000"))
    child = int(await own.text("child"))
    await own.running(name)
    await own.kill_supervisor()
    assert child in dict((await own.runtime.detail(name)).processes)
    await own.runtime.stop([name])
    await own.ended(name)
    assert not alive(child)


async def test_lines_written_without_a_supervisor_are_kept_and_in_order(own: Own) -> None:
    name = await own.run(shell("n=0; while test $n -lt 400; do n=$((n+1)); echo line $n; sleep 0.002; done; exec sleep 1000"))
    await own.running(name)
    await own.kill_supervisor()
    os.kill(own.pump, signal.SIGKILL)
    await own.see(name)
    await own.logged(name, "line 400")
    assert await said(own, name, 400) == [f"line {number}" for number in range(1, 401)]


async def test_a_pump_that_is_killed_is_replaced_and_nothing_is_lost(own: Own) -> None:
    name = await own.run(shell("n=0; while test $n -lt 300; do n=$((n+1)); echo line $n; sleep 0.002; done; exec sleep 1000"))
    await own.logged(name, "line 20")
    pump = own.pump
    os.kill(pump, signal.SIGKILL)
    await own.logged(name, "line 300")
    assert await said(own, name, 300) == [f"line {number}" for number in range(1, 301)]
    assert own.pump != pump


async def test_a_watcher_is_told_that_the_supervisor_is_lost_and_can_watch_the_next_one(own: Own) -> None:
    name = await own.run(SLEEPER)
    seen = await own.running(name)
    changes = own.runtime.changes()
    async with asyncio.timeout(15):
        assert name in await anext(changes)
        await own.kill_supervisor()
        with pytest.raises(RuntimeFailed):
            [names async for names in changes]
        again = own.runtime.changes()
        assert name in await anext(again)
        assert await own.see(name) == seen
    await close(again)


async def test_a_run_whose_record_is_broken_is_known_by_its_process(own: Own) -> None:
    name = await own.run(SLEEPER, launch=3)
    before = await own.running(name)
    await own.kill_supervisor()
    record = own.folder / "units" / name / "run"
    record.write_bytes(record.read_bytes()[:40])
    seen = await own.see(name)
    assert (seen.active, seen.pid, seen.launch) == ("active", before.pid, 0), "launch 0: the agent starts it, which takes it over"
    await own.runtime.start([(name, 3)])
    again = await own.until(name, lambda seen: is_running(seen) and seen.launch == 3, "taken over")
    assert again.pid == before.pid


async def test_a_unit_whose_text_is_lost_can_still_be_stopped_and_loaded_again(own: Own) -> None:
    name = await own.run(SLEEPER)
    pid = (await own.running(name)).pid
    await own.kill_supervisor()
    (own.folder / "units" / name / "unit").write_bytes(b"\0\xff{")
    seen = await own.see(name)
    assert (seen.load, seen.hash, seen.pid) == ("error", "", pid)
    with pytest.raises(RuntimeFailed) as caught:
        await own.runtime.start([(name, 2)])
    assert set(caught.value.refused) == {name}
    await own.runtime.stop([name])
    await own.ended(name)
    assert not alive(pid)
    await own.load(app=SLEEPER)
    await own.runtime.start([(name, 2)])
    await own.running(name)


async def test_a_process_that_was_begun_and_not_written_down_is_not_begun_twice(own: Own) -> None:
    name = await own.run(SLEEPER)
    before = await own.running(name)
    await own.kill_supervisor()
    record = own.folder / "units" / name / "run"
    saved = json.loads(record.read_bytes())
    saved["run"] |= {"sub": "start", "job": "starting", "main": None, "mine": []}
    record.write_text(json.dumps(saved))
    assert (await own.running(name)).pid == before.pid


async def test_a_process_that_was_only_meant_to_be_begun_is(own: Own) -> None:
    name = await own.run(SLEEPER)
    before = await own.running(name)
    await own.kill_supervisor()
    os.kill(before.pid, signal.SIGKILL)
    record = own.folder / "units" / name / "run"
    saved = json.loads(record.read_bytes())
    saved["run"] |= {"sub": "start", "job": "starting", "main": None, "mine": [], "invocation": "0" * 32}
    record.write_text(json.dumps(saved))
    assert (await own.running(name)).pid != before.pid


async def test_after_a_reboot_nothing_runs_and_launches_are_forgotten(own: Own) -> None:
    names = await own.load(app=SLEEPER, idle=SLEEPER)
    await own.runtime.start([(names[0], 3)])
    pid = (await own.running(names[0])).pid
    await asyncio.to_thread(cut, own.folder)
    assert not alive(pid)
    units = await own.runtime.units()
    assert [(units[name].active, units[name].launch, units[name].pid) for name in names] == [("inactive", 0, 0)] * 2
    await own.kill_supervisor()
    record = own.folder / "units" / names[0] / "run"
    record.write_text(json.dumps({"name": names[0], "boot": "of another time", "run": {"sub": "running", "launch": 3, "main": None}}))
    seen = await own.see(names[0])
    assert (seen.active, seen.launch) == ("inactive", 0)


async def test_a_newer_version_takes_its_place_and_children_stay_children(own: Own) -> None:
    name = await own.run(shell("until test -e @dir@/go; do sleep 0.02; done; exit 9"))
    before = await own.running(name)
    supervisor, pump = own.pid, own.pump
    reader, writer = await asyncio.open_unix_connection(str(own.folder / "supervisor.sock"))
    writer.write(b'{"id": 1, "op": "renew"}\n')
    async with asyncio.timeout(15):
        while await reader.read(1000):
            pass
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    assert await own.running(name) == before
    assert own.pid == supervisor
    (own.scratch / "go").touch()
    assert (await own.ended(name)).code == 9
    await eventually(lambda: own.pump != pump, "new pump")


async def test_a_shutdown_stops_units_as_they_ask_and_leaves_nothing(own: Own) -> None:
    name = await own.run(shell("trap 'echo bye > @dir@/said; exit 0' TERM; echo up > @dir@/up; while :; do sleep 0.02; done"))
    await own.text("up")
    supervisor, pump = own.pid, own.pump
    pid = (await own.running(name)).pid
    async with asyncio.timeout(15):
        await own.supervisor.shutdown()
    assert await own.text("said") == "bye\n"
    await eventually(lambda: not any(map(alive, (pid, supervisor, pump))), "end of everything")
    assert (await own.see(name)).active == "inactive", "a new supervisor knows what was loaded"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
async def test_signals_of_a_terminal_do_not_end_it(own: Own, number: signal.Signals) -> None:
    name = await own.run(SLEEPER)
    before = await own.running(name)
    pid = own.pid
    os.kill(pid, number)
    assert await own.see(name) == before
    assert own.pid == pid


async def test_two_supervisors_never_share_a_folder(own: Own) -> None:
    pid = own.pid
    others = await asyncio.gather(*(own.connect() for _ in range(5)))
    assert own.pid == pid
    await own.kill_supervisor()
    await asyncio.gather(*(other.units() for other in others))
    assert own.pid != pid


async def test_what_it_cannot_write_does_not_keep_units_from_running(own: Own, caplog: pytest.LogCaptureFixture) -> None:
    names = await own.load(app=SLEEPER, first=SLEEPER)
    await own.runtime.start([(names[0], 1)])
    await own.running(names[0])
    for name in names:
        os.symlink("/dev/full", staged(own.folder / "units" / name / "run"))
    await own.runtime.stop([names[0]])
    assert (await own.ended(names[0])).active == "inactive"
    await own.runtime.start([(names[1], 1)])
    await own.running(names[1])
    assert "No space left on device" in caplog.text
    for name in names:
        Path(staged(own.folder / "units" / name / "run")).unlink(missing_ok=True)


async def test_no_unit_ever_runs_twice_however_often_its_supervisor_is_killed(own: Own) -> None:
    text = "[Service]\nStartLimitBurst=0\nRestart=always\nRestartSec=0\nExecStart=/usr/bin/flock -n -E 99 @dir@/lock-%p /bin/sleep 1000\n"
    names = await own.load(**dict.fromkeys(("a", "b", "c", "d"), text))
    dice = random.Random(1)

    async def start(launch: int) -> None:
        with contextlib.suppress(RuntimeFailed):
            await own.runtime.start([(name, launch) for name in dice.sample(names, 3)])

    for launch in range(1, 5):
        async with asyncio.TaskGroup() as group:
            group.create_task(start(launch))
            await asyncio.sleep(dice.random() * 0.02)
            await own.kill_supervisor()
        for _ in range(3):  # the one that was killed may have taken the first connection
            with contextlib.suppress(RuntimeFailed):
                await own.runtime.units()
                break
    await own.runtime.start([(name, 9) for name in names])
    pids = {name: (await own.until(name, lambda seen: is_running(seen) and seen.launch == 9, "running")).pid for name in names}
    for name in names:
        assert not [line async for line in own.runtime.logs(name, 1000, False) if "code 99" in line.text], "it found its lock taken"
        assert len((await own.runtime.detail(name)).processes) == 2
    await own.runtime.stop(names)
    for name in names:
        await own.ended(name)
    assert not any(map(alive, pids.values()))


async def test_a_kill_while_cleaning_up_ends_that_too(own: Own) -> None:
    name = await own.run(shell("exec sleep 1000", "ExecStopPost=/bin/sh -c 'echo up > @dir@/up; sleep 1000'"))
    await own.running(name)
    await own.runtime.stop([name])
    await own.text("up")
    await own.runtime.kill([name])
    await own.ended(name)
    assert (await own.runtime.detail(name)).processes == ()
