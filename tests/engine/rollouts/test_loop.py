"""Rollouts carried out by real engines on a real store: what happens, and what does when the leader ends in the middle."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.errors import Conflict
from argosy.model import RolloutRules, RolloutState, RolloutUnit, RolloutWish, Stage, Target, Unit
from argosy.state import desired, keys
from argosy.state.records import encode
from argosy.state.rollouts import rollouts, wish_rollout
from argosy.store.base import Put
from tests.conftest import FakeClock
from tests.engine.harness import TTL, Harness, harness
from tests.engine.rollouts.agents import Agents, ask, ask_for, ended, launch, played, progress, text, unit, until

OLD, NEW, BAD = text("old"), text("new"), text("bad")
RULES = RolloutRules(timeout=20.0, steady=1.0)
BACK = RolloutRules(timeout=20.0, steady=1.0, rollback=True)
FIRST = RolloutRules(timeout=20.0, steady=1.0, start_first=True)
NAMES = ("a.service", "b.service", "c.service")


def stages(found: object) -> list[str]:
    return [group.stage.value for group in found.groups]  # type: ignore[attr-defined]


async def test_units_are_changed_one_after_the_other_each_step_with_its_reason(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD, c=OLD)
        agents.started.clear()
        await ask(cluster, RULES, a=NEW, b=NEW, c=NEW)
        found = await ended(cluster)
        assert (found.state, found.reason) == (RolloutState.DONE, "all are as wished and healthy")
        assert agents.starts() == list(NAMES)
        assert [step.text for step in found.steps] == [
            "a.service: updating, to begin with",
            "a.service: healthy again after 1.5 s (1 of 3)",
            "b.service: updating, all before it are healthy",
            "b.service: healthy again after 1.5 s (2 of 3)",
            "c.service: updating, all before it are healthy",
            "c.service: healthy again after 1.5 s (3 of 3)",
        ]
        assert {(await unit(cluster, name)).text for name in "abc"} == {NEW}


async def test_a_failure_stops_it_and_the_others_are_not_touched(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD)
        agents.started.clear()
        await ask(cluster, RULES, a=BAD, b=NEW)
        found = await ended(cluster)
        assert found.state is RolloutState.FAILED
        assert found.reason == "a.service: Unit a.service failed on m1...: exit status 1"
        assert (stages(found), agents.starts()) == (["failed", "waiting"], ["a.service"])
        assert (await unit(cluster, "b")).text == OLD


async def test_a_failure_goes_back_by_itself_where_that_is_the_rule(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD, c=OLD)
        agents.started.clear()
        await ask(cluster, BACK, a=NEW, b=BAD, c=NEW)
        found = await ended(cluster)
        assert found.state is RolloutState.ROLLED_BACK
        assert agents.starts() == ["a.service", "b.service", "b.service", "a.service"]
        assert {(await unit(cluster, name)).text for name in "abc"} == {OLD}


async def test_a_restart_is_a_new_launch_of_the_same_text(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD)
        before = [(await unit(cluster, name)).launch for name in "ab"]
        await ask(cluster, RULES, restart=True, a=OLD, b=OLD)
        assert (await ended(cluster)).state is RolloutState.DONE
        assert [(await unit(cluster, name)).launch for name in "ab"] == [launch + 1 for launch in before]
        assert len(agents.started) == 4


async def test_paused_nothing_new_is_touched_and_then_it_goes_on(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD)
        agents.started.clear()
        await ask(cluster, RULES, a=NEW, b=NEW)
        await until(cluster, lambda found: any(group.touched for group in found.groups))
        await wish_rollout(cluster.store, "r", RolloutWish.PAUSE)
        found = await until(cluster, lambda found: found.state is RolloutState.PAUSED and found.groups[0].stage is Stage.READY)
        await cluster.pass_time(30.0)
        assert agents.starts() == ["a.service"]
        await wish_rollout(cluster.store, "r", RolloutWish.RUN)
        found = await ended(cluster)
        assert (found.state, agents.starts()) == (RolloutState.DONE, ["a.service", "b.service"])
        assert [step.text for step in found.steps if ":" not in step.text] == ["paused", "goes on"]


@pytest.mark.parametrize(
    ("wish", "state", "texts"),
    [(RolloutWish.ABORT, RolloutState.ABORTED, [NEW, OLD]), (RolloutWish.ROLLBACK, RolloutState.ROLLED_BACK, [OLD, OLD])],
)
async def test_ended_by_an_operator_it_stays_or_goes_back(
    clock: FakeClock, wish: RolloutWish, state: RolloutState, texts: list[str]
) -> None:
    async with harness(clock, "m1") as cluster, played(cluster):
        await launch(cluster, a=OLD, b=OLD)
        await ask(cluster, RULES, a=NEW, b=NEW)
        await until(cluster, lambda found: any(group.touched for group in found.groups))
        await wish_rollout(cluster.store, "r", wish)
        found = await ended(cluster)
        assert (found.state, found.reason) == (state, "ended by an operator")
        assert [(await unit(cluster, name)).text for name in "ab"] == texts
        with pytest.raises(Conflict, match="has ended"):
            await wish_rollout(cluster.store, "r", RolloutWish.RUN)


async def test_of_two_rollouts_of_one_unit_the_second_is_refused_until_the_first_has_ended(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster):
        await launch(cluster, a=OLD, b=OLD)
        await ask(cluster, RULES, a=NEW, b=NEW)
        with pytest.raises(Conflict, match=r"unit b\.service is part of rollout r, which has not ended"):
            await ask(cluster, RULES, name="s", b=NEW)
        await ended(cluster)
        await ask(cluster, RULES, name="s", b=OLD)
        assert (await ended(cluster, "s")).state is RolloutState.DONE


MEANWHILE = [
    ("another text", "b", Unit("b.service", text("theirs"), Target.LAUNCHED, 9), "b.service was changed by somebody else"),
    ("a stop", "b", Unit("b.service", OLD, Target.LOADED, 2), "b.service was changed by somebody else"),
    ("destroyed", "b", None, "b.service was destroyed meanwhile"),
    ("another text of the one on its way", "a", Unit("a.service", text("theirs"), Target.LAUNCHED, 9), "a.service was given another text"),
    ("the one on its way destroyed", "a", None, "a.service was destroyed meanwhile"),
    ("the one on its way restarted", "a", Unit("a.service", NEW, Target.LAUNCHED, 9), "a.service was told something else meanwhile"),
]


@pytest.mark.parametrize(("sentence", "stem", "change", "reason"), MEANWHILE, ids=[row[0] for row in MEANWHILE])
async def test_what_somebody_else_does_stops_it_and_is_not_overwritten(
    clock: FakeClock, sentence: str, stem: str, change: Unit | None, reason: str
) -> None:
    async with harness(clock, "m1") as cluster, played(cluster):
        await launch(cluster, a=OLD, b=OLD)
        await ask(cluster, BACK, a=NEW, b=NEW)
        await until(cluster, lambda found: any(group.touched for group in found.groups))
        if change is None:
            await cluster.destroy(f"{stem}.service")
        else:
            await cluster.store.commit([], [Put(keys.unit(change.name), encode(change))])
        found = await ended(cluster)
        assert reason in found.reason
        assert found.state is not RolloutState.DONE
        stored = await desired.unit(cluster.store, f"{stem}.service")
        assert (stored.unit if stored else None) == change


async def test_templates_are_replaced_when_all_are_healthy(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster):
        await launch(cluster, **{"a@1": OLD})
        await cluster.submit("a@.service", text=OLD, target=Target.INACTIVE)
        template = await desired.unit(cluster.store, "a@.service")
        assert template is not None
        asked = await ask_for(cluster, RULES, {"a@1": NEW})
        found = await ended(cluster)
        assert found.templates == ()
        asked = type(asked)(
            "s",
            (RolloutUnit("a@1.service", (await stored_revision(cluster, "a@1.service"))),),
            (NEW,),
            (RolloutUnit("a@.service", template.revision, 0, 0),),
            created=clock.now(),
        )
        await cluster.store.commit([], [Put(keys.rollout("s"), encode(asked))])
        found = await ended(cluster, "s")
        assert found.templates == ("a@.service",)
        assert (await unit(cluster, "a@")).text == NEW


async def stored_revision(cluster: Harness, name: str) -> int:
    stored = await desired.unit(cluster.store, name)
    assert stored is not None
    return stored.revision


async def test_what_has_ended_is_removed_after_a_day(clock: FakeClock) -> None:
    async with harness(clock, "m1") as cluster, played(cluster):
        await launch(cluster, a=OLD)
        await ask(cluster, RULES, a=NEW)
        await ended(cluster)
        clock.jump(86_500.0)
        await ask(cluster, RULES, name="s", a=OLD)
        await ended(cluster, "s")
        assert list((await rollouts(cluster.store))[0]) == ["s"]


# ---------------------------------------------------------------- make before break


async def test_where_another_machine_fits_the_old_copy_goes_when_the_new_one_is_healthy(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD)
        (before,) = await cluster.where("a.service")
        await ask(cluster, FIRST, a=NEW)
        await until(cluster, lambda found: any(group.touched for group in found.groups))
        await cluster.pass_time(0.75, 0.25)
        assert len(await cluster.where("a.service")) == 2, "it is watched for a while first"
        found = await ended(cluster)
        assert found.state is RolloutState.DONE
        (after,) = await cluster.where("a.service")
        assert (after != before, agents.gaps) == (True, [])
        assert [step.text for step in found.steps] == [
            "a.service: updating, to begin with",
            "a.service: its new copy is healthy after 1.5 s; the old one goes",
            "a.service: healthy again after 1.5 s (1 of 1)",
        ]


async def test_a_new_copy_that_fails_costs_nothing_and_the_unit_is_as_it_was(clock: FakeClock) -> None:
    async with harness(clock, "m1", "m2") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD)
        before, where = await unit(cluster, "a"), await cluster.where("a.service")
        await ask(cluster, FIRST, a=BAD)
        found = await ended(cluster)
        assert found.state is RolloutState.ROLLED_BACK
        assert (await unit(cluster, "a"), await cluster.where("a.service"), agents.gaps) == (before, where, [])
        assert "a.service: putting its old text back, its old copy still runs" in [step.text for step in found.steps]


IN_PLACE = [
    ("a single machine", ("m1",), "", "in place: there is no other machine"),
    ("its conflicts", ("m1", "m2"), "[X-Fleet]\nConflicts=b*\n", "in place: no other machine takes it"),
    ("two must never run", ("m1", "m2"), "[X-Argosy]\nOnDisconnect=stop\n", "in place: OnDisconnect=stop"),
]


@pytest.mark.parametrize(("sentence", "machines", "more", "reason"), IN_PLACE, ids=[row[0] for row in IN_PLACE])
async def test_where_it_cannot_come_up_beside_it_is_changed_in_place_and_says_why(
    clock: FakeClock, sentence: str, machines: tuple[str, ...], more: str, reason: str
) -> None:
    async with harness(clock, *machines) as cluster, played(cluster) as agents:
        await launch(cluster, a=text("old", more), b=OLD)
        where = await cluster.where("a.service")
        await ask(cluster, FIRST, a=text("new", more))
        found = await ended(cluster)
        assert (found.state, await cluster.where("a.service")) == (RolloutState.DONE, where)
        assert reason in found.steps[0].text
        assert agents.gaps == ["a.service"]


async def test_a_sidekick_goes_ahead_to_the_new_copy(clock: FakeClock) -> None:
    kick = text("kick", "[X-Fleet]\nMachineOf=a.service\n")
    async with harness(clock, "m1", "m2") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, kick=kick)
        (before,) = await cluster.where("a.service")
        await ask(cluster, FIRST, a=NEW)
        found = await ended(cluster)
        assert found.state is RolloutState.DONE, found
        assert await cluster.where("a.service") == await cluster.where("kick.service") != [before]
        assert agents.gaps == []


# ---------------------------------------------------------------- leaders that end in the middle


async def hand_on(cluster: Harness, counted: str, left: int, *, lost: bool) -> None:
    """The leader is cut off in its `left`th commit from now on of what has this prefix; another one takes over."""
    line = cluster.engines["e1"][1]
    line.counted, line.commits_left, line.answers_lost = counted, left, lost
    await cluster.engine("e2")


async def rolled(clock: FakeClock, rules: RolloutRules, texts: dict[str, str], cut: tuple[str, int, bool] | None) -> tuple[object, Agents]:
    """The end of a rollout whose leader was cut off, or was not, in plain values; and the agents."""
    async with harness(clock, "m1", "m2") as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD, c=OLD)
        agents.started.clear()
        if cut is not None:
            await hand_on(cluster, cut[0], cut[1], lost=cut[2])
        await ask_for(cluster, rules, texts)
        found = await ended(cluster, seconds=200.0)
        await cluster.pass_time(4 * TTL)
        units = [await unit(cluster, name) for name in "abc"]
        places = [len(await cluster.where(name)) for name in NAMES]
        return (found.state, stages(found), [(each.text, each.launch) for each in units], places), agents


FATES = {
    "all come well": (RULES, {"a": NEW, "b": NEW, "c": NEW}),
    "two at a time": (RolloutRules(2, 20.0, 1.0), {"a": NEW, "b": NEW, "c": NEW}),
    "one fails": (RULES, {"a": NEW, "b": BAD, "c": NEW}),
    "one fails and all go back": (BACK, {"a": NEW, "b": BAD, "c": NEW}),
    "beside": (FIRST, {"a": NEW, "b": NEW, "c": NEW}),
    "beside, and one fails": (FIRST, {"a": NEW, "b": BAD, "c": NEW}),
}


WHOLE: dict[str, tuple[object, list[str]]] = {}
"""The end of each fate when nobody is cut off, and the units that were started."""


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    fate=st.sampled_from(sorted(FATES)),
    counted=st.sampled_from([keys.ROLLOUT_PROGRESS, keys.PLACEMENTS]),
    left=st.integers(1, 14),
    lost=st.booleans(),
)
async def test_a_leader_that_ends_at_any_commit_changes_nothing_about_the_end(fate: str, counted: str, left: int, lost: bool) -> None:
    rules, texts = FATES[fate]
    if fate not in WHOLE:
        expected, whole = await rolled(FakeClock(), rules, texts, None)
        WHOLE[fate] = expected, sorted(whole.starts())
    found, agents = await rolled(FakeClock(), rules, texts, (counted, left, lost))
    assert (found, sorted(agents.starts())) == WHOLE[fate], "no unit is started twice"
    if rules.start_first:
        assert agents.gaps == []


async def test_a_second_leader_finds_all_in_the_store(clock: FakeClock) -> None:
    """Step after step another one leads."""
    async with harness(clock, "m1", engines=("e1", "e2")) as cluster, played(cluster) as agents:
        await launch(cluster, a=OLD, b=OLD, c=OLD)
        agents.started.clear()
        await ask(cluster, RULES, a=NEW, b=NEW, c=NEW)
        for number in range(3, 12):
            (leader,) = cluster.leaders()
            await cluster.stop(leader)
            await cluster.engine(f"e{number}")
            await cluster.pass_time(1.0, 0.25)
        assert (await ended(cluster)).state is RolloutState.DONE
        assert agents.starts() == list(NAMES)
        assert len((await progress(cluster)).steps) == 6
