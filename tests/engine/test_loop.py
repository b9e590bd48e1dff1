"""Engines at work: elections, fences, commits that fail half-way, machines that go and come, a store that goes and comes."""

from __future__ import annotations

import asyncio

import pytest

from argosy.engine.loop import Engine
from argosy.model import Leader, Machine, Order, Placement, Target, Workload
from argosy.placement import why
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.kinds import LEADER
from argosy.state.lease import Lease
from argosy.state.records import encode
from argosy.store.base import Delete, Put
from argosy.store.sqlite import SqliteStore
from tests import stored
from tests.conftest import FakeClock, settle
from tests.engine.harness import PLAIN, TTL, harness


async def test_a_submitted_unit_is_placed_with_everything_its_agent_must_know(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        await cluster.submit("a.service")
        await cluster.until_placed(1)
        assert (await cluster.placements())["m1", "a.service"] == Placement(
            "a.service", "m1", PLAIN, Target.LAUNCHED, 1, "fewest units (0)", clock.now()
        )


async def test_a_changed_unit_is_updated_in_place_and_a_destroyed_one_removed(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.submit("a.service", text=PLAIN + "# new\n", target=Target.LOADED)
        await settle(200)
        placement = (await cluster.placements())["m1", "a.service"]
        assert (placement.text, placement.target, placement.launch) == (PLAIN + "# new\n", Target.LOADED, 2)
        await cluster.destroy("a.service")
        await cluster.until_placed(0)


async def test_a_thousand_units_at_once_are_spread_evenly(clock: FakeClock) -> None:
    async with harness(clock, *[f"m{n}" for n in range(5)]) as cluster:
        await cluster.submit(*[f"a@{n}.service" for n in range(1000)])
        await cluster.until_placed(1000)
        counts = [sum(machine == f"m{n}" for machine, _ in await cluster.placements()) for n in range(5)]
        assert counts == [200] * 5


async def test_of_four_containers_that_publish_one_port_on_three_machines_one_waits_for_the_port(clock: FakeClock) -> None:
    text = "[Container]\nImage=localhost/web\nPublishPort=8080:80\n"
    names = [f"web{number}.service" for number in range(4)]
    async with harness(clock, "m1", "m2", "m3") as cluster:
        await cluster.submit(*names, text=text)
        await cluster.until_placed(3)
        placements = await cluster.placements()
        assert {machine for machine, _ in placements} == {"m1", "m2", "m3"}
        (waiting,) = set(names) - {name for _, name in placements}
        wanted = {name: Workload(name, text, Target.LAUNCHED, 1) for name in names}
        explained = why(wanted, {name: Machine(name) for name in ("m1", "m2", "m3")}, {}, placements, {}, waiting)
        assert explained.reason == "no machine fits: all 3 refuse it"
        assert [row.filter for row in explained.rows] == ["Ports"] * 3
        assert all(row.reason.startswith("port 8080/tcp is published here by Unit(web") for row in explained.rows)
        machine, leaving = next(iter(placements))
        await cluster.destroy(leaving)
        await cluster.until_on(waiting, machine)


async def test_of_several_engines_one_leads_and_another_takes_over_at_once_when_it_is_told_to_stop(clock: FakeClock) -> None:
    async with harness(clock, "m1", engines=["e1", "e2", "e3"]) as cluster:
        (first,) = cluster.leaders()
        await cluster.stop(first)
        await settle(200)
        (second,) = cluster.leaders()
        assert second != first
        assert (await stored.listed(cluster.store, LEADER))[""].machine == second
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")


async def test_when_the_leader_dies_another_leads_within_its_lease(clock: FakeClock) -> None:
    async with harness(clock, "m1", engines=["e1", "e2"]) as cluster:
        (first,) = cluster.leaders()
        await cluster.kill(first)
        await cluster.submit("a.service")
        await cluster.pass_time(TTL / 2)
        assert cluster.leaders() == []
        await cluster.pass_time(TTL / 2 + 0.5, step=0.5)
        assert cluster.leaders()
        await cluster.until_on("a.service", "m1")


@pytest.mark.parametrize("answers_lost", [False, True])
async def test_a_leader_that_dies_in_the_middle_of_a_batch_leaves_a_job_that_another_finishes(clock: FakeClock, answers_lost: bool) -> None:
    async with harness(clock, "m1", "m2", engines=["e1", "e2"]) as cluster:
        (first,) = cluster.leaders()
        line = cluster.engines[first][1]
        line.commits_left, line.answers_lost = 2, answers_lost
        await cluster.submit(*[f"a@{n}.service" for n in range(300)])
        await settle(300)
        half = len(await cluster.placements())
        assert 0 < half < 300
        await cluster.kill(first)
        await cluster.pass_time(TTL + 1)
        await cluster.until_placed(300)
        assert len({unit for _, unit in await cluster.placements()}) == 300


async def test_a_commit_whose_answer_is_lost_is_read_again_and_not_repeated(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        line = cluster.engines["e1"][1]
        line.commits_left, line.answers_lost = 1, True
        await cluster.submit("a.service")
        await cluster.until_placed(1)
        line.mend()
        await cluster.pass_time(3 * TTL)
        assert await cluster.where("a.service") == ["m1"]
        await cluster.submit("b.service")
        await cluster.until_on("b.service", "m2")


async def test_every_write_of_a_placement_is_fenced_with_the_key_of_the_leader_that_made_it(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", engines=["e1", "e2"]) as cluster:
        lines = {name: line for name, (_, line, _) in cluster.engines.items()}
        terms: dict[str, list[int]] = {name: [] for name in lines}
        for number in range(4):
            (leader,) = cluster.leaders()
            record = await cluster.store.get(keys.ENGINE_LEADER)
            assert record is not None
            terms[leader].append(record.modified)
            await cluster.submit(*[f"a{number}@{n}.service" for n in range(20)])
            await cluster.until_placed(20 * (number + 1))
            # the leader's key vanishes under it, as when its lease has ended while it was paused
            await cluster.store.commit([], [Delete(keys.ENGINE_LEADER)])
            await cluster.pass_time(TTL)
        written = 0
        for name, line in lines.items():
            for conditions, writes in line.commits:
                names = {write.key for write in writes if isinstance(write, Put | Delete)}
                if any(name.startswith(keys.PLACEMENTS) for name in names):
                    written += len(writes)
                    assert conditions[0].key == keys.ENGINE_LEADER
                    assert conditions[0].revision in terms[name]
                    assert {condition.key for condition in conditions[1:]} == names
        assert written == 80


async def test_a_leader_that_was_replaced_without_noticing_changes_nothing(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        usurper = Put(keys.ENGINE_LEADER, encode(Leader("other", 0)))
        await cluster.store.commit([], [usurper])
        await cluster.submit("a.service")
        await settle(300)
        assert await cluster.placements() == {}
        assert cluster.leaders() == []
        await cluster.store.commit([], [Delete(keys.ENGINE_LEADER)])
        await cluster.pass_time(1)
        await cluster.until_on("a.service", "m1")


async def test_a_leader_notices_that_it_was_replaced_even_if_it_has_nothing_to_write(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        await cluster.store.commit([], [Put(keys.ENGINE_LEADER, encode(Leader("other", 0)))])
        await cluster.pass_time(TTL / 2)
        assert cluster.leaders() == []


async def test_placements_that_others_write_or_delete_are_put_right(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.store.commit([], [Delete(keys.placement("m1", "a.service"))])
        await cluster.until_on("a.service", "m1")
        foreign = Placement("a.service", "m2", "bad", Target.LAUNCHED, placed=1.0)
        stray = Placement("b.service", "m2", "bad", Target.LAUNCHED)
        await cluster.store.commit([], [Put(keys.placement(one.machine, one.unit), encode(one)) for one in (foreign, stray)])
        await cluster.until_placed(1)
        assert [placement.text for placement in (await cluster.placements()).values()] == [PLAIN]


async def test_a_placement_that_somebody_else_was_faster_to_write_is_read_again(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        foreign = Placement("a.service", "m1", "bad", Target.LAUNCHED)
        cluster.engines["e1"][1].ahead = [Put(keys.placement("m1", "a.service"), encode(foreign))]
        await cluster.submit("a.service")
        await cluster.pass_time(2)
        assert cluster.engines["e1"][1].ahead == []
        assert (await cluster.placements())["m1", "a.service"].text == PLAIN


async def test_records_that_cannot_be_decoded_harm_no_other_and_stop_nothing(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.store.commit(
            [],
            [
                Put(keys.unit("a.service"), b"{broken"),
                Put(keys.placement("m2", "b.service"), b"{broken"),
                Put(keys.machine("m3"), b"[]"),
                Put(keys.state("m1", "a.service"), b'"?"'),
            ],
        )
        await cluster.submit("b.service")
        await cluster.until_on("b.service", "m2")
        assert await cluster.where("a.service") == ["m1"]


async def test_a_placement_that_cannot_be_decoded_is_put_right_where_it_is(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.submit("b.service", "c.service")
        await cluster.until_placed(3)
        before = (await cluster.placements())["m1", "a.service"]
        await cluster.store.commit([], [Put(keys.placement("m1", "a.service"), b"{broken")])
        await settle(200)
        after = (await cluster.placements())["m1", "a.service"]
        assert (after.text, after.target, after.launch) == (before.text, before.target, before.launch)
        assert await cluster.where("a.service") == ["m1"], "it runs there: it is not moved"


async def test_the_last_of_two_who_replace_a_unit_at_once_counts(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        for number in range(20):
            await cluster.submit("a.service", text=f"{PLAIN}# {number}\n")
        await settle(300)
        placement = (await cluster.placements())["m1", "a.service"]
        assert (placement.text, placement.launch) == (f"{PLAIN}# 19\n", 20)


async def test_a_unit_with_metadata_that_nobody_has_waits_for_a_machine_that_has_them(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        await cluster.submit("a.service", text=PLAIN + "[X-Fleet]\nMachineMetadata=disk=ssd\n")
        await settle(200)
        assert await cluster.placements() == {}
        await cluster.machine("m2", disk="ssd")
        await cluster.until_on("a.service", "m2")


async def test_units_that_follow_each_other_in_a_circle_are_placed_nowhere_and_disturb_nobody(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        await cluster.submit("a.service", text=PLAIN + "[X-Fleet]\nMachineOf=b.service\n")
        await cluster.submit("b.service", text=PLAIN + "[X-Fleet]\nMachineOf=a.service\n")
        await cluster.submit("c.service", text=PLAIN + "[X-Fleet]\nConflicts=c.service *@*\n")
        await cluster.until_placed(1)
        assert await cluster.where("c.service") == ["m1"]


async def test_a_lost_machine_s_units_are_placed_elsewhere_at_once_and_stay_there_when_it_returns(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service", "b.service")
        await cluster.until_placed(2)
        await cluster.machine_dies("m1")
        await cluster.until_on("a.service", "m2")
        assert (await cluster.placements())["m2", "a.service"].reason == "target Machine(m1) went away; fewest units (1)"
        await cluster.machine("m1")
        await settle(200)
        assert (await cluster.where("a.service"), await cluster.where("b.service")) == (["m2"], ["m2"])


async def test_a_drained_machine_keeps_a_unit_until_the_new_copy_is_active(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.report("m1", "a.service", active="active")
        await cluster.order("m1", Order(draining=True))
        await cluster.until_on("a.service", "m1", "m2")
        await cluster.report("m2", "a.service", active="activating")
        await settle(100)
        assert await cluster.where("a.service") == ["m1", "m2"]
        await cluster.report("m2", "a.service", active="active")
        await cluster.until_on("a.service", "m2")


async def test_a_finished_oneshot_is_marked_and_is_not_moved_when_its_machine_is_lost(clock: FakeClock) -> None:
    text = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("job.service", text=text)
        await cluster.until_on("job.service", "m1")
        await cluster.report("m1", "job.service", active="inactive", code=0)
        await settle(100)
        assert (await cluster.placements())["m1", "job.service"].finished
        await cluster.machine_dies("m1")
        await settle(200)
        assert await cluster.where("job.service") == ["m1"]
        await cluster.submit("job.service", text=text)
        await cluster.until_on("job.service", "m2")
        assert not (await cluster.placements())["m2", "job.service"].finished


async def test_an_engine_that_has_just_begun_waits_for_missing_machines_before_it_moves_anything(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.stop("e1")
        await cluster.machine_dies("m1")
        await cluster.engine("e2")
        await cluster.pass_time(2 * TTL - 1)
        assert await cluster.where("a.service") == ["m1"]
        await cluster.submit("b.service")
        await cluster.until_on("b.service", "m2")
        await cluster.pass_time(2)
        assert await cluster.where("a.service") == ["m2"]


async def test_after_the_store_was_away_agents_get_the_time_to_come_back(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", "m3", engines=["e1", "e2"]) as cluster:
        await cluster.submit("a.service", "b.service", "c.service")
        await cluster.until_placed(3)
        before = await cluster.placements()
        for _, line, _ in cluster.engines.values():
            line.cut()
        await cluster.clock.advance(30)  # nobody reaches the store: every lease ends
        cluster.leases.clear()
        for _, line, _ in cluster.engines.values():
            line.mend()
        await cluster.pass_time(3)
        for name in ("m1", "m2"):
            await cluster.machine(name)
        await cluster.pass_time(4)
        assert cluster.leaders()
        assert await cluster.placements() == before
        await cluster.pass_time(2 * TTL)
        after = await cluster.placements()
        assert set(after) - set(before) == {("m1", "c.service")}
        assert {place: after[place] for place in after if place in before} == {place: before[place] for place in before if place[0] != "m3"}


async def test_a_short_break_delays_the_move_from_a_lost_machine_no_longer_than_it_lasted(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2", engines=["e1", "e2"]) as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        await cluster.pass_time(4 * TTL)
        await cluster.kill(cluster.leaders()[0])
        (line,) = [line for _, line, _ in cluster.engines.values()]
        line.cut()
        await cluster.pass_time(2)
        line.mend()
        await cluster.pass_time(TTL - 2 + 0.5, step=0.5)
        await cluster.machine_dies("m1")
        await cluster.until_on("a.service", "m2")


async def test_while_its_line_to_the_store_is_cut_an_engine_does_nothing_and_then_catches_up(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        line = cluster.engines["e1"][1]
        line.cut()
        await cluster.submit("a.service")
        await cluster.pass_time(3 * TTL)
        assert await cluster.placements() == {}
        line.mend()
        await cluster.pass_time(3 * TTL)
        assert await cluster.where("a.service") == ["m1"]


async def test_a_clock_that_jumps_moves_nothing(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster:
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")
        before = await cluster.placements()
        for jump in (86_400, -2 * 86_400):
            clock.jump(jump)
            await cluster.pass_time(3)
        assert await cluster.placements() == before
        assert cluster.leaders() == ["e1"]


async def test_an_engine_whose_history_is_compacted_away_reads_everything_again(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        line = cluster.engines["e1"][1]
        line.cut()
        for number in range(30):
            await cluster.submit(f"a@{number}.service")
        await cluster.store.compact(await cluster.store.commit([], [Put("/x", b"")]))
        line.mend()
        await cluster.pass_time(3 * TTL)
        await cluster.until_placed(30)


async def test_an_engine_that_is_told_to_stop_leaves_no_key_behind(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        assert await cluster.store.get(keys.ENGINE_LEADER) is not None
        await cluster.stop("e1")
        assert await cluster.store.get(keys.ENGINE_LEADER) is None


async def test_an_engine_that_cannot_resign_makes_up_for_it_before_it_stands_again(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster:
        line = cluster.engines["e1"][1]
        line.commits_left = 1
        await cluster.submit("a.service")
        await settle(100)
        assert cluster.leaders() == []
        line.mend()
        await cluster.pass_time(1)
        assert cluster.leaders() == ["e1"]
        await cluster.until_on("a.service", "m1")


async def test_a_term_ends_with_the_machines_lease_and_another_engine_leads_at_once(clock: FakeClock) -> None:
    async with harness(clock, "m1", engines=["e1", "e2"]) as cluster:
        (first,) = cluster.leaders()
        record = await cluster.store.get(keys.ENGINE_LEADER)
        assert record is not None
        await cluster.store.revoke(record.lease)
        await settle(300)
        (second,) = set(cluster.leaders()) - {first}
        await cluster.pass_time(TTL / 5)
        assert cluster.leaders() == [second]
        await cluster.submit("a.service")
        await cluster.until_on("a.service", "m1")


async def test_an_engine_leads_only_under_a_lease_of_its_machine_which_stands_when_it_resigns(clock: FakeClock) -> None:
    async with SqliteStore(":memory:", clock) as store, Cache(store, clock) as cache:
        lease = Lease(store, clock, TTL)
        engine = Engine(cache, "m1", clock, lease)
        running = [asyncio.create_task(lease.run()), asyncio.create_task(engine.run())]
        await clock.advance(3 * TTL)
        assert await store.get(keys.ENGINE_LEADER) is None
        lease.publish("/other", b"")
        await lease.take()
        await settle(200)
        assert engine.leading
        record = await store.get(keys.ENGINE_LEADER)
        assert record is not None
        assert record.lease == lease.id
        running[1].cancel()
        await settle(200)
        assert await store.get(keys.ENGINE_LEADER) is None
        assert await store.get("/other") is not None, "the lease is the machine's"
        running[0].cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_an_engine_that_fails_resigns_so_that_another_leads_at_once(clock: FakeClock) -> None:
    async with harness(clock, "m1", engines=["e1", "e2"]) as cluster:
        (first,) = cluster.leaders()
        _, line, task = cluster.engines[first]
        line.broken = True
        await cluster.submit("a.service")
        await settle(300)
        assert task.done()
        with pytest.raises(ExceptionGroup):
            await task
        assert cluster.leaders() != [first]
        await cluster.until_on("a.service", "m1")
