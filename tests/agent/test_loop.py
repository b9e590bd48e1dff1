"""The agent at work: joining, running what is placed here, and what it withstands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from argosy.agent.fence import Fence
from argosy.agent.foothold import Notes
from argosy.agent.loop import Agent
from argosy.agent.runtimes import Runtimes
from argosy.errors import NotFound, Refused
from argosy.model import UNIT, Facts, Machine, Problem, Target
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore
from tests.agent.stage import APP, EXCLUSIVE, SIDEKICK, TTL, FakeRuntime, FlakyStore, Host, M, Stage, on_stage, placed, run
from tests.conftest import FakeClock, settle


@pytest.fixture
async def stage(clock: FakeClock) -> AsyncIterator[Stage]:
    async with on_stage(clock) as stage:
        yield stage


# ---------------------------------------------------------------- records that cannot be read


async def test_a_placement_that_becomes_unreadable_stops_nothing_and_the_one_before_stands(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.begin()
    pid = await stage.run_app()
    await stage.store.store.commit([], [Put(keys.placement(M, "app.service"), b"{broken")])
    await settle(200)
    assert stage.runtime.pid("app.service") == pid
    assert "the placement of app.service cannot be read: the one before stands" in caplog.messages
    stage.runtime.fail("app.service")
    await stage.clock.advance(2)
    assert "app.service" in stage.runtime.running(), "a failure is still answered"
    await stage.remove("app.service")
    assert "app.service" not in stage.runtime.running(), "a record that is gone is gone"


async def test_an_agent_that_finds_a_placement_unreadable_leaves_the_unit_running_until_it_can_be_read(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    await stage.stop()
    await stage.store.store.commit([], [Put(keys.placement(M, "app.service"), b"{broken")])
    await stage.begin()
    await stage.clock.advance(3 * TTL)
    assert stage.runtime.pid("app.service") == pid
    await stage.place(placed(launch=2))
    assert stage.runtime.pid("app.service") != pid, "the new record counts"
    await stage.remove("app.service")
    assert stage.runtime.running() == []


# ---------------------------------------------------------------- joining


async def test_a_machine_registers_under_a_lease_that_is_kept_alive(stage: Stage) -> None:
    await stage.begin(metadata={"role": "web"})
    machine = await stage.machine()
    assert machine is not None
    assert (machine.id, machine.name, machine.metadata, machine.runtime, machine.ttl) == (M, "m1", {"role": "web"}, "supervisor", TTL)
    record = await stage.store.get(keys.machine(M))
    assert record is not None
    assert record.lease != 0
    assert stage.agent is not None
    assert stage.lease.id == record.lease
    await stage.clock.advance(60)
    assert await stage.store.get(keys.machine(M)) == record, "nothing was written anew"


async def test_an_agent_that_stops_leaves_units_and_lease_as_they_are(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    await stage.stop()
    assert stage.runtime.pid("app.service") == pid
    assert await stage.machine() is not None
    await stage.clock.advance(TTL + 3)
    assert await stage.machine() is None, "the lease ended by itself"
    assert await stage.states() == {}
    assert stage.runtime.pid("app.service") == pid


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_restarted_agent_takes_over_at_once_and_changes_no_pid(stage: Stage, how: str) -> None:
    await stage.begin()
    await stage.place(placed(), placed("kick.service", SIDEKICK), placed("idle.service", target=Target.LOADED))
    pids = {unit: stage.runtime.pid(unit) for unit in stage.runtime.running()}
    await (stage.stop() if how == "stopped" else stage.kill())
    stage.runtime.calls.clear()
    await stage.begin()
    assert stage.runtime.calls == []
    record = await stage.store.get(keys.machine(M))
    assert record is not None
    await stage.clock.advance(3 * TTL)
    assert {unit: stage.runtime.pid(unit) for unit in stage.runtime.running()} == pids
    assert set(await stage.states()) == {"app.service", "kick.service", "idle.service"}, "the old lease ended without harm"
    standing = await stage.store.get(keys.machine(M))
    assert standing is not None
    assert standing.created == record.created, "the machine was never gone"


async def test_a_second_agent_on_this_host_is_refused_at_once(stage: Stage) -> None:
    await stage.begin()
    second = await stage.begin()
    assert second.done()
    with pytest.raises(Refused, match="runs here already"):
        await second


async def test_an_agent_elsewhere_with_the_same_id_is_refused_while_the_first_one_lives(stage: Stage, clock: FakeClock) -> None:
    await stage.begin(address="198.18.0.1")
    runtime = FakeRuntime(clock)
    lease = Lease(stage.store, clock, TTL)
    runtimes = Runtimes({UNIT: runtime})
    fence = Fence(runtimes, lease, clock, Host())
    copy = Agent(Cache(stage.store, clock), lease, runtimes, Machine(M, "198.18.0.2"), clock, fence)
    clock.jump(0.5)  # two processes do not begin in the same microsecond
    task = asyncio.create_task(run(copy, fence, lease))
    await settle(200)
    await stage.place(placed())
    await clock.advance(TTL)
    assert not task.done(), "it may be the record of a machine that was just rebooted"
    assert runtime.running() == []
    await clock.advance(TTL)
    with pytest.raises(Refused, match=r"kept alive by the agent of m1 at 198\.18\.0\.1.*id of its own"):
        await task
    assert stage.runtime.running() == ["app.service"]


async def test_after_a_reboot_the_machine_waits_until_its_old_lease_has_ended(stage: Stage) -> None:
    await stage.begin()
    first = await stage.machine()
    await stage.kill()
    stage.host = Host()
    stage.runtime = FakeRuntime(stage.clock)
    stage.clock.jump(0.5)
    await stage.begin()
    assert await stage.machine() == first
    await stage.clock.advance(TTL + 3)
    second = await stage.machine()
    assert second is not None
    assert first is not None
    assert second.since > first.since


async def test_a_lost_lease_is_replaced_and_everything_told_anew(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    before = await stage.states()
    assert stage.agent is not None
    await stage.store.revoke(stage.lease.id)
    assert await stage.machine() is None
    await stage.clock.advance(TTL / 5)
    assert await stage.machine() is not None
    assert await stage.states() == before
    assert stage.runtime.pid("app.service") == pid
    await stage.clock.advance(3 * TTL)
    assert await stage.states() == before


# ---------------------------------------------------------------- doing what is placed


async def test_placements_are_loaded_started_stopped_and_unloaded_in_few_calls(stage: Stage) -> None:
    await stage.begin()
    units = [placed(f"web@{number}.service") for number in range(3)]
    await stage.place(*units)
    assert stage.runtime.calls == ["load web@0 web@1 web@2", "start web@0 web@1 web@2"]
    assert all(state.active == "active" and state.launch == 1 and state.pid for state in (await stage.states()).values())
    await stage.place(placed("web@0.service", target=Target.LOADED), placed("web@1.service", launch=2))
    assert stage.runtime.calls[2:] == ["stop web@0", "start web@1"]
    await stage.remove("web@0.service", "web@2.service")
    assert sorted(stage.runtime.calls[4:]) == ["stop web@2", "unload web@0", "unload web@2"]
    assert set(await stage.states()) == {"web@1.service"}


async def test_an_agent_sees_only_its_own_placements(stage: Stage) -> None:
    await stage.begin()
    await stage.store.store.commit([], [Put(keys.placement("b" * 32, "app.service"), encode(placed()))])
    await settle(200)
    assert stage.runtime.calls == []


async def test_a_unit_that_keeps_failing_is_tried_with_growing_delays_and_shown_as_failing(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    starts = []
    for failures in range(1, 5):
        stage.runtime.fail("app.service")
        await settle(100)
        state = (await stage.states())["app.service"]
        assert (state.active, state.failures) == ("failed", failures)
        began = stage.clock.monotonic()
        while "app.service" not in stage.runtime.running():
            await stage.clock.advance(0.25)
        starts.append(stage.clock.monotonic() - began)
    assert starts == pytest.approx([1, 2, 4, 8], abs=0.3)
    await stage.clock.advance(61)
    assert (await stage.states())["app.service"].failures == 0


async def test_a_new_launch_of_a_failing_unit_is_not_delayed(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    for _ in range(3):
        stage.runtime.fail("app.service")
        await stage.clock.advance(5)
    stage.runtime.fail("app.service")
    await settle(100)
    assert stage.runtime.running() == []
    await stage.place(placed(launch=2))
    assert stage.runtime.running() == ["app.service"]
    assert (await stage.states())["app.service"].failures == 0


async def test_a_finished_oneshot_is_not_started_again(stage: Stage) -> None:
    text = "[Service]\nType=oneshot\nExecStart=/bin/job\n"
    await stage.begin()
    await stage.run_app(text, "job.service")
    stage.runtime.down("job.service", code=0)
    await settle(100)
    state = (await stage.states())["job.service"]
    assert (state.active, state.code, state.result) == ("inactive", 0, "success")
    await stage.place(placed("job.service", text, finished=True))
    await stage.clock.advance(120)
    assert stage.runtime.calls == ["load job", "start job"]


async def test_a_sidekick_follows_its_app_down_and_up(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed("kick.service", SIDEKICK), placed())
    assert stage.runtime.calls[-1] == "start app kick"
    await stage.clock.advance(10)
    stage.runtime.fail("app.service")
    await settle(100)
    assert stage.runtime.running() == []
    await stage.clock.advance(1)
    assert stage.runtime.running() == ["app.service", "kick.service"]


async def test_changed_text_is_loaded_when_the_old_has_stopped(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    stage.runtime.stubborn.add("app.service")
    await stage.place(placed(text=APP + "RestartSec=3\n"))
    assert stage.runtime.calls[-1] == "stop app"
    assert stage.runtime.running() == ["app.service"]
    stage.runtime.down("app.service")
    await settle(100)
    assert stage.runtime.calls[-2:] == ["load app", "start app"]


async def test_what_the_runtime_refuses_is_noted_tried_again_and_harms_no_other(stage: Stage) -> None:
    stage.runtime.refuses["app.service"] = "cannot write /run/argosy/units/app.service: No space left on device"
    await stage.begin()
    await stage.place(placed(), placed("web.service"))
    assert stage.runtime.running() == ["web.service"]
    state = (await stage.states())["app.service"]
    assert (state.load, state.failures) == ("error", 1)
    assert "No space left" in state.note
    await stage.clock.advance(1.5)
    assert (await stage.states())["app.service"].failures == 2
    stage.runtime.refuses.clear()
    await stage.clock.advance(5)
    assert stage.runtime.running() == ["app.service", "web.service"]
    assert (await stage.states())["app.service"].note == ""


async def test_a_runtime_that_goes_away_is_asked_again(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    stage.runtime.lose()
    await stage.place(placed("web.service"))
    await stage.clock.advance(20)
    assert await stage.machine() is not None
    stage.runtime.away = False
    await stage.clock.advance(6)
    assert stage.runtime.running() == ["app.service", "web.service"]


# ---------------------------------------------------------------- the store goes away


async def test_while_the_store_is_away_running_work_keeps_running(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    stage.store.away = True
    await stage.clock.advance(10 * TTL)
    assert stage.runtime.pid("app.service") == pid
    stage.runtime.fail("app.service")
    await stage.clock.advance(2)
    assert stage.runtime.running() == ["app.service"], "the placement last known stands"
    again = stage.runtime.pid("app.service")
    stage.store.away = False
    await stage.clock.advance(2)
    assert await stage.machine() is not None
    assert (await stage.states())["app.service"].pid == again == stage.runtime.pid("app.service")


async def test_an_agent_that_begins_without_a_store_touches_nothing(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    await stage.kill()
    stage.store.away = True
    stage.runtime.calls.clear()
    await stage.begin()
    await stage.clock.advance(60)
    assert stage.runtime.calls == []
    assert stage.runtime.pid("app.service") == pid
    stage.store.away = False
    await stage.clock.advance(6)
    assert stage.runtime.pid("app.service") == pid
    assert await stage.machine() is not None


async def test_a_unit_moved_away_while_the_store_was_away_is_stopped_before_the_machine_joins_again(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(), placed("web.service"))
    stage.runtime.stubborn.add("app.service")
    stage.store.away = True
    await stage.clock.advance(TTL + 3)
    await stage.store.store.list("")  # the lease has ended
    await stage.remove("app.service")
    stage.store.away = False
    await stage.clock.advance(2)
    assert "stop app" in stage.runtime.calls
    assert await stage.machine() is None, "not while the old copy still runs"
    stage.runtime.down("app.service")
    await stage.clock.advance(1)
    assert await stage.machine() is not None
    assert set(await stage.states()) == {"web.service"}
    assert stage.runtime.running() == ["web.service"]


async def test_a_copy_that_will_not_stop_keeps_the_machine_away_for_one_lease_only(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    stage.runtime.stubborn.add("app.service")
    assert stage.agent is not None
    await stage.store.revoke(stage.lease.id)
    await stage.remove("app.service")
    await stage.clock.advance(TTL - 1)
    assert await stage.machine() is None
    await stage.clock.advance(3)
    assert await stage.machine() is not None


async def test_a_machine_that_was_paused_beyond_its_lease_starts_and_keeps_nothing_that_was_moved(stage: Stage) -> None:
    own = FakeClock()
    await stage.begin(clock=own)
    await stage.place(placed(), placed("web.service"))
    await stage.clock.advance(TTL + 3)  # everybody's time but the paused machine's
    assert await stage.machine() is None
    await stage.store.store.commit([], [Put(keys.placement(M, "late.service"), encode(placed("late.service")))])
    await stage.remove("app.service")
    seen_by_others: list[set[str]] = []
    for _ in range(20):
        await own.advance(0.25)
        if await stage.machine() is not None:
            seen_by_others.append(set(stage.runtime.running()))
    assert seen_by_others
    assert all("app.service" not in running for running in seen_by_others)
    assert stage.runtime.running() == ["late.service", "web.service"]


# ---------------------------------------------------------------- a stop is an event


async def test_a_loaded_unit_that_the_engine_starts_runs_on_whatever_the_agent_goes_through(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(target=Target.LOADED), placed("job.service", target=Target.LOADED))
    stage.runtime.begin("app.service")
    stage.runtime.begin("job.service")
    pids = [stage.runtime.pid("app.service"), stage.runtime.pid("job.service")]
    await stage.clock.advance(3)
    assert (await stage.states())["app.service"].active == "active"
    await stage.kill()
    await stage.begin()
    stage.store.away = True
    await stage.clock.advance(TTL + 3)
    stage.store.away = False
    await stage.clock.advance(3)
    await stage.place(placed(launch=5, target=Target.LOADED))  # another record that asks for no more than the one before
    assert [stage.runtime.pid("app.service"), stage.runtime.pid("job.service")] == pids
    assert not [call for call in stage.runtime.calls if call.startswith(("stop", "kill"))]


async def test_a_stop_is_carried_out_once_and_the_engine_may_start_the_unit_again(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    await stage.place(placed(target=Target.LOADED))
    assert stage.runtime.running() == []
    stage.runtime.begin("app.service")
    await stage.clock.advance(3)
    await stage.stop()
    await stage.begin()
    await stage.clock.advance(3)
    assert stage.runtime.running() == ["app.service"]
    assert stage.runtime.calls.count("stop app") == 1


async def test_a_stop_asked_while_the_store_is_away_or_no_agent_runs_is_carried_out_afterwards(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(), placed("web.service"))
    stage.store.away = True
    await stage.clock.advance(1)
    await stage.store.store.commit([], [Put(keys.placement(M, "app.service"), encode(placed(target=Target.LOADED)))])
    stage.store.away = False
    await stage.clock.advance(2)
    assert stage.runtime.running() == ["web.service"]
    await stage.kill()
    await stage.store.store.commit([], [Put(keys.placement(M, "web.service"), encode(placed("web.service", target=Target.LOADED)))])
    await stage.begin()
    assert stage.runtime.running() == []
    stage.runtime.begin("web.service")
    await stage.clock.advance(3)
    assert stage.runtime.running() == ["web.service"]


async def test_a_unit_stopped_and_started_faster_than_the_agent_looks_runs_anew(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    stage.store.away = True
    for placement in (placed(target=Target.LOADED), placed(launch=2)):
        await stage.store.store.commit([], [Put(keys.placement(M, "app.service"), encode(placement))])
    stage.store.away = False
    await stage.clock.advance(2)
    assert stage.runtime.pid("app.service") not in (0, pid)
    assert (await stage.states())["app.service"].launch == 2


async def test_what_the_engine_started_is_stopped_when_it_leaves_the_machine(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(target=Target.LOADED))
    stage.runtime.begin("app.service")
    await stage.remove("app.service")
    assert stage.runtime.running() == []
    assert stage.runtime.calls[-2:] == ["stop app", "unload app"]


async def test_a_start_takes_over_what_the_engine_started(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(target=Target.LOADED))
    stage.runtime.begin("app.service")
    pid = stage.runtime.pid("app.service")
    await stage.place(placed(launch=1))
    assert stage.runtime.pid("app.service") == pid
    assert (await stage.states())["app.service"].launch == 1


@pytest.mark.parametrize("verb", ["load", "start"])
async def test_a_refused_launch_is_told_with_its_launch_and_reason_and_is_over_when_it_goes_through(stage: Stage, verb: str) -> None:
    await stage.begin()
    if verb == "start":
        await stage.place(placed(target=Target.LOADED))
    stage.runtime.refuses["app.service"] = "a volume is missing"
    await stage.place(placed(launch=3))
    await stage.clock.advance(1.5)
    state = (await stage.states())["app.service"]
    assert (state.launch, state.result, state.note) == (3, "refused", "a volume is missing")
    assert (state.failures, state.load) == (2, "loaded" if verb == "start" else "error")
    del stage.runtime.refuses["app.service"]
    await stage.clock.advance(3)
    state = (await stage.states())["app.service"]
    assert (state.launch, state.result, state.active, state.failures, state.note) == (3, "success", "active", 0, "")


async def test_a_refused_restart_leaves_what_runs_and_is_told(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    stage.runtime.refuses["app.service"] = "the disk is full"
    await stage.place(placed(launch=2))
    state = (await stage.states())["app.service"]
    assert (state.launch, state.result, state.active, stage.runtime.pid("app.service")) == (2, "refused", "active", pid)
    await stage.place(placed(launch=1))
    state = (await stage.states())["app.service"]
    assert (state.launch, state.result) == (1, "success"), "what is not wished any more is not refused"


@pytest.mark.parametrize("wish", ["loaded", "gone"])
async def test_a_refused_stop_is_told_and_tried_again_more_and_more_slowly(stage: Stage, wish: str) -> None:
    await stage.begin()
    await stage.run_app()
    stage.runtime.refuses["app.service"] = "RefuseManualStop=yes"
    await (stage.place(placed(target=Target.LOADED)) if wish == "loaded" else stage.remove("app.service"))
    await stage.clock.advance(20)
    state = (await stage.states())["app.service"]
    assert (state.launch, state.result, state.active, state.note) == (0, "refused", "active", "RefuseManualStop=yes")
    assert stage.runtime.calls.count("stop app") == 5, "at once, and after 1, 3, 7 and 15 seconds"
    del stage.runtime.refuses["app.service"]
    await stage.clock.advance(20)
    assert stage.runtime.running() == []


# ---------------------------------------------------------------- units that must not outlive the lease


async def test_an_exclusive_unit_is_stopped_before_the_lease_can_end_and_started_again_afterwards(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(text=EXCLUSIVE), placed("web.service"))
    stage.store.away = True
    await stage.clock.advance(TTL * 0.5 - 1.01)
    assert stage.runtime.running() == ["app.service", "web.service"]
    await stage.clock.advance(1.3)
    assert stage.runtime.running() == ["web.service"], "stopped at half of the lease"
    await stage.clock.advance(60)
    assert stage.runtime.running() == ["web.service"], "and not tried again meanwhile"
    stage.store.away = False
    await stage.clock.advance(2)
    assert stage.runtime.running() == ["app.service", "web.service"]
    assert (await stage.states())["app.service"].launch == 1


async def test_an_exclusive_unit_that_dies_just_when_the_store_is_back_is_started_again(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app(EXCLUSIVE)
    stage.runtime.stubborn.add("app.service")
    stage.store.away = True
    await stage.clock.advance(TTL * 0.6)
    assert stage.runtime.calls[-1] == "stop app"
    stage.store.away = False
    await stage.clock.advance(0.3)
    stage.runtime.down("app.service", code=0)
    await stage.clock.advance(1)
    assert stage.runtime.calls[-1] == "start app"


async def test_an_exclusive_unit_that_will_not_stop_is_killed_before_the_lease_can_end(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app(EXCLUSIVE)
    stage.runtime.stubborn.add("app.service")
    stage.store.away = True
    await stage.clock.advance(TTL * 0.8 - 1.01)
    assert stage.runtime.running() == ["app.service"]
    await stage.clock.advance(1.3)
    assert stage.runtime.running() == []
    assert "kill app" in stage.runtime.calls


async def test_a_short_absence_of_the_store_stops_nothing(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app(EXCLUSIVE)
    for _ in range(5):
        stage.store.away = True
        await stage.clock.advance(TTL * 0.5 - 1.3)
        stage.store.away = False
        await stage.clock.advance(TTL)
    assert stage.runtime.pid("app.service") == pid


async def test_after_a_lost_lease_an_exclusive_unit_is_dead_before_the_machine_joins(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app(EXCLUSIVE)
    stage.runtime.stubborn.add("app.service")
    assert stage.agent is not None
    await stage.store.revoke(stage.lease.id)
    for _ in range(60):
        await stage.clock.advance(0.05)
        if await stage.machine() is not None:
            assert stage.runtime.pid("app.service") != pid
    assert stage.runtime.running() == ["app.service"], "still placed here, so started again"
    assert stage.runtime.calls.index("kill app") < stage.runtime.calls.index("start app", 2)


async def test_an_agent_that_was_killed_while_the_store_was_away_still_keeps_the_promise(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app(EXCLUSIVE)
    assert stage.host.notes.exclusive == ("app.service",)
    stage.store.away = True
    await stage.clock.advance(1)
    await stage.kill()
    await stage.clock.advance(0.5)
    await stage.begin()
    await stage.clock.advance(TTL * 0.5 - 1)
    assert stage.runtime.running() == [], "the new agent knows neither placement nor text, only the notes"


async def test_a_restarted_agent_leaves_exclusive_units_alone_while_its_old_lease_stands(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app(EXCLUSIVE)
    await stage.clock.advance(10)
    await stage.kill()
    await stage.clock.advance(3)
    await stage.begin()
    await stage.clock.advance(10)
    assert stage.runtime.pid("app.service") == pid


async def test_an_agent_restarted_after_its_lease_had_ended_starts_exclusive_units_anew(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app(EXCLUSIVE)
    await stage.kill()
    await stage.clock.advance(TTL + 3)
    assert await stage.machine() is None
    await stage.begin()
    await stage.clock.advance(2)
    assert stage.runtime.running() == ["app.service"]
    assert stage.runtime.pid("app.service") != pid
    assert "kill app" in stage.runtime.calls


async def test_an_agent_that_is_told_to_stop_takes_exclusive_units_down_with_it(stage: Stage) -> None:
    await stage.begin()
    await stage.place(placed(text=EXCLUSIVE), placed("web.service"))
    await stage.stop()
    assert stage.runtime.running() == ["web.service"]
    await stage.begin()
    await stage.clock.advance(1)
    assert stage.runtime.running() == ["app.service", "web.service"]


async def test_notes_that_cannot_be_written_harm_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.host.full = True
    await stage.begin()
    pid = await stage.run_app(EXCLUSIVE)
    await stage.clock.advance(20)
    assert stage.runtime.pid("app.service") == pid
    assert "No space left on device" in caplog.text


# ---------------------------------------------------------------- telling


async def test_a_first_change_is_told_at_once_and_flapping_is_coalesced(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app()
    await stage.clock.advance(5)
    stage.store.commits.clear()
    stage.runtime.turn("app.service", sub="reload")
    await settle(50)
    assert len(stage.store.commits) == 1
    for number in range(60):
        stage.runtime.turn("app.service", sub=f"flap{number}")
        await stage.clock.advance(0.05)
    assert len(stage.store.commits) <= 4 * 3 + 2
    await stage.clock.advance(1)
    assert (await stage.states())["app.service"].sub == "flap59"


async def test_nothing_is_written_while_nothing_changes(stage: Stage) -> None:
    await stage.begin()
    await stage.place(*(placed(f"web@{number}.service") for number in range(10)))
    await stage.clock.advance(5)
    stage.store.commits.clear()
    await stage.clock.advance(300)
    assert stage.store.commits == []


async def test_many_states_travel_in_few_commits(stage: Stage) -> None:
    await stage.begin()
    stage.store.commits.clear()
    await stage.place(*(placed(f"web@{number}.service") for number in range(100)))
    assert len(await stage.states()) == 100
    assert len(stage.store.commits) <= 4


async def test_facts_are_told_when_they_changed_notably(clock: FakeClock) -> None:
    load = 0.1

    async def gather() -> Facts:
        return Facts(cores=4, memory=1000, memory_available=500, load=load)

    async with SqliteStore(":memory:", clock) as inner:
        store = FlakyStore(inner)
        lease = Lease(store, clock, TTL)
        runtimes = Runtimes({UNIT: FakeRuntime(clock)})
        fence = Fence(runtimes, lease, clock, Host())
        agent = Agent(Cache(store, clock), lease, runtimes, Machine(M), clock, fence, gather)
        task = asyncio.create_task(run(agent, fence, lease))
        await settle(200)
        assert agent.machine.facts.cores == 4
        store.commits.clear()
        load = 0.3
        await clock.advance(300)
        assert store.commits == []
        load = 3.0
        await clock.advance(31)
        assert len(store.commits) == 1
        assert agent.machine.facts.load == 3.0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_problems_are_in_the_record_until_they_are_taken_back_whatever_the_store_does_meanwhile(stage: Stage) -> None:
    await stage.begin()
    assert stage.agent is not None
    full, slow = Problem("the store is full", blocking=True), Problem("the disk is slow")
    stage.store.away = True
    stage.agent.report_problem("store", full)
    stage.agent.report_problem("disk", slow)
    await stage.clock.advance(1)
    stage.store.away = False
    await stage.clock.advance(6)
    record = await stage.machine()
    assert record is not None
    assert record.problems == (slow, full)
    stage.agent.report_problem("store", None)
    stage.agent.report_problem("store", None)
    await stage.clock.advance(1)
    record = await stage.machine()
    assert record is not None
    assert record.problems == (slow,)


def away(machine: Machine | None) -> bool:
    """Whether the record says that nothing new may be placed there because the runtime is away."""
    assert machine is not None
    return machine.problems == (Problem("its units cannot be managed: the runtime is away", blocking=True),)


async def test_a_machine_that_cannot_manage_its_units_says_so_until_it_can_again(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    stage.runtime.lose()
    await stage.clock.advance(1)
    assert away(await stage.machine())
    await stage.clock.advance(20)
    assert away(await stage.machine())
    assert (await stage.states())["app.service"].pid == pid, "what was known last"
    await stage.place(placed("new.service"))
    stage.runtime.away = False
    await stage.clock.advance(6)
    record = await stage.machine()
    assert record is not None
    assert record.problems == ()
    assert stage.runtime.running() == ["app.service", "new.service"]


async def test_an_agent_restarted_while_the_runtime_is_away_joins_and_says_so(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    await stage.stop()
    stage.runtime.away = True
    await stage.begin()
    await stage.clock.advance(TTL + 4)
    assert away(await stage.machine())
    assert (await stage.states())["app.service"].pid == pid, "states stand under the new lease"
    stage.runtime.away = False
    await stage.clock.advance(6)
    record = await stage.machine()
    assert record is not None
    assert record.problems == ()
    assert stage.runtime.pid("app.service") == pid


async def test_an_agent_does_not_join_blindly_while_units_may_run_that_must_not_outlive_a_lease(stage: Stage) -> None:
    await stage.begin()
    await stage.run_app(EXCLUSIVE)
    await stage.kill()
    stage.runtime.away = True
    await stage.begin()
    await stage.clock.advance(2 * TTL)
    assert await stage.machine() is None
    stage.runtime.away = False
    await stage.clock.advance(2 * TTL)
    assert await stage.machine() is not None


async def test_a_clock_that_jumps_moves_no_unit_and_no_lease(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    for hours in (24, -48):
        stage.clock.jump(hours * 3600)
        await stage.clock.advance(TTL * 2)
        assert stage.runtime.pid("app.service") == pid
        assert await stage.machine() is not None
    stage.runtime.fail("app.service")
    await settle(100)
    stage.clock.jump(-3600)
    await stage.clock.advance(2)
    assert stage.runtime.running() == ["app.service"], "a retry is not put off by an hour"


async def test_details_and_logs_come_from_the_runtime(stage: Stage) -> None:
    await stage.begin()
    pid = await stage.run_app()
    assert stage.agent is not None
    assert (await stage.agent.detail("app.service")).observed.pid == pid
    with pytest.raises(NotFound):
        await stage.agent.detail("nobody.service")
    assert [line.text async for line in stage.agent.logs("app.service", 2, False)] == ["app.service 0", "app.service 1"]


async def test_notes_of_another_boot_count_for_nothing() -> None:
    assert Notes() == Notes("", 0.0, 0.0, ())
