"""Who is started and stopped with whom, in tables of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.agent.supervise.jobs import WAITING, Graph, Links, Standing, begun, casualties, ready, settle, start, stop, unbound
from argosy.agent.supervise.states import AT_REST, Job, Sub

APP, SIDEKICK, PART, OTHER = "app", "sidekick", "part", "other"
GRAPH = Graph(
    {
        APP: Links(),
        SIDEKICK: Links(after=(APP,), binds_to=(APP,)),
        PART: Links(part_of=(APP,)),
        OTHER: Links(after=(SIDEKICK,), requires=(SIDEKICK, "not-loaded"), binds_to=("not-loaded",)),
    }
)
DOWN = {name: Standing() for name in (APP, SIDEKICK, PART, OTHER)}
UP = {name: Standing(Sub.RUNNING) for name in DOWN}


def standing(base: Mapping[str, Standing], **changes: Standing) -> dict[str, Standing]:
    return {**base, **changes}


def words(jobs: Mapping[str, Job]) -> str:
    return " ".join(f"{name}:{job.value or 'none'}" for name, job in sorted(jobs.items()))


STARTS: Sequence[tuple[str, Mapping[str, Standing], Sequence[str], str]] = [
    ("one that needs nobody starts alone", DOWN, [APP], "app:start"),
    ("one that needs others takes them along", DOWN, [OTHER], "app:start other:start sidekick:start"),
    ("those that run already are left alone", standing(DOWN, app=Standing(Sub.RUNNING)), [SIDEKICK], "sidekick:start"),
    ("those that start already too", standing(DOWN, app=Standing(Sub.DEAD, Job.START)), [SIDEKICK], "sidekick:start"),
    ("one that runs is restarted, and whom it drags with it", UP, [APP], "app:restart other:restart part:restart sidekick:restart"),
    ("... but not those that are down", standing(UP, part=Standing(), other=Standing(Sub.FAILED)), [APP], "app:restart sidekick:restart"),
    ("one that is going down comes up after that", standing(DOWN, app=Standing(Sub.STOP_SIGTERM)), [APP], "app:restopping"),
    ("so does one that is needed", standing(DOWN, app=Standing(Sub.STOP)), [SIDEKICK], "app:restopping sidekick:start"),
    ("a stop that waits is called off", standing(DOWN, app=Standing(Sub.RUNNING, Job.STOP)), [SIDEKICK], "app:none sidekick:start"),
    (
        "a restart that was waited for takes along whom it drags",
        standing(UP, app=Standing(Sub.AUTO_RESTART)),
        [APP],
        "app:start other:restart part:restart sidekick:restart",
    ),
    ("a part does not pull the whole up", DOWN, [PART], "part:start"),
]


@pytest.mark.parametrize(("sentence", "at", "names", "jobs"), STARTS, ids=[row[0] for row in STARTS])
def test_starts(sentence: str, at: Mapping[str, Standing], names: Sequence[str], jobs: str) -> None:
    assert words(start(GRAPH, at.__getitem__, names)) == jobs, sentence


STOPS: Sequence[tuple[str, Mapping[str, Standing], Sequence[str], str]] = [
    ("stopping takes along all that needs it or is part of it", UP, [APP], "app:stop other:stop part:stop sidekick:stop"),
    ("... and nobody that it needs", UP, [OTHER], "other:stop"),
    ("one that is down has nothing to stop", DOWN, [OTHER], "other:none"),
    ("... but a start that waits is called off", standing(DOWN, other=Standing(Sub.DEAD, Job.START)), [OTHER], "other:none"),
    ("those on the way down stay on it", standing(DOWN, other=Standing(Sub.STOP, Job.RESTOPPING)), [OTHER], "other:stopping"),
    ("one that waits to restart is stopped", standing(DOWN, other=Standing(Sub.AUTO_RESTART)), [OTHER], "other:stop"),
]


@pytest.mark.parametrize(("sentence", "at", "names", "jobs"), STOPS, ids=[row[0] for row in STOPS])
def test_stops(sentence: str, at: Mapping[str, Standing], names: Sequence[str], jobs: str) -> None:
    assert words(stop(GRAPH, at.__getitem__, names)) == jobs, sentence


ORDERS: Sequence[tuple[str, Mapping[str, Job], list[str]]] = [
    ("who is after waits for the start", {APP: Job.START, SIDEKICK: Job.START}, [APP]),
    ("... also when that has begun", {APP: Job.STARTING, SIDEKICK: Job.START}, []),
    ("who has no order goes at once", {APP: Job.STARTING, PART: Job.START}, [PART]),
    ("the other way round when stopping", {APP: Job.STOP, SIDEKICK: Job.STOP}, [SIDEKICK]),
    ("... and when restarting", {APP: Job.RESTART, SIDEKICK: Job.RESTART, OTHER: Job.RESTART}, [OTHER]),
    ("a stop goes before a start", {APP: Job.START, SIDEKICK: Job.STOP}, [SIDEKICK]),
    ("... whichever is after", {APP: Job.STOP, SIDEKICK: Job.START}, [APP]),
    ("a restart comes up before those after it", {APP: Job.RESTOPPING, SIDEKICK: Job.START}, []),
    ("order skips those that have no job", {APP: Job.START, OTHER: Job.START}, [APP, OTHER]),
]


@pytest.mark.parametrize(("sentence", "jobs", "free"), ORDERS, ids=[row[0] for row in ORDERS])
def test_orders(sentence: str, jobs: Mapping[str, Job], free: list[str]) -> None:
    assert ready(GRAPH, UP.__getitem__, jobs) == (free, False), sentence


def test_a_circle_is_broken_and_told() -> None:
    graph = Graph({"a": Links(after=("b",)), "b": Links(after=("c",)), "c": Links(after=("a",))})
    jobs = dict.fromkeys("abc", Job.START)
    assert ready(graph, lambda _: Standing(), jobs) == (["a"], True)
    assert ready(graph, lambda _: Standing(), {**jobs, "a": Job.STARTING}) == ([], False)


SETTLED: Sequence[tuple[str, Job, Sub, Job, bool | None]] = [
    ("a start has succeeded when the unit runs", Job.STARTING, Sub.RUNNING, Job.NONE, True),
    ("... or remains", Job.STARTING, Sub.EXITED, Job.NONE, True),
    ("... or has done its work", Job.STARTING, Sub.DEAD, Job.NONE, True),
    ("... and failed when the unit did", Job.STARTING, Sub.FAILED, Job.NONE, False),
    ("... even if it is tried again", Job.STARTING, Sub.AUTO_RESTART, Job.NONE, False),
    ("it is not over before", Job.STARTING, Sub.START_PRE, Job.STARTING, None),
    ("... nor on the way down from a failure", Job.STARTING, Sub.STOP_SIGTERM, Job.STARTING, None),
    ("a start that waits is not over because the unit is down", Job.START, Sub.FAILED, Job.START, None),
    ("a stop is over when the unit is down", Job.STOPPING, Sub.DEAD, Job.NONE, True),
    ("... however", Job.STOPPING, Sub.FAILED, Job.NONE, True),
    ("one that waits, too", Job.STOP, Sub.DEAD, Job.NONE, True),
    ("a restart becomes a start", Job.RESTOPPING, Sub.DEAD, Job.START, None),
    ("... one that waits, too", Job.RESTART, Sub.FAILED, Job.START, None),
    ("... and when the unit waits for its own restart", Job.RESTART, Sub.AUTO_RESTART, Job.START, None),
]


@pytest.mark.parametrize(("sentence", "job", "sub", "left", "well"), SETTLED, ids=[row[0] for row in SETTLED])
def test_ends_of_jobs(sentence: str, job: Job, sub: Sub, left: Job, well: bool | None) -> None:
    assert settle(job, sub) == (left, well), sentence


def test_those_that_wait_for_what_failed_are_called_off_one_after_the_other() -> None:
    waiting = Standing(Sub.DEAD, Job.START)
    at = standing(DOWN, sidekick=waiting, other=waiting, part=waiting)
    assert casualties(GRAPH, at.__getitem__, APP) == [SIDEKICK, OTHER]
    assert casualties(GRAPH, UP.__getitem__, APP) == []


def test_who_is_bound_to_what_is_down_is_to_be_stopped() -> None:
    assert unbound(GRAPH, standing(UP, app=Standing(Sub.FAILED)).__getitem__) == {SIDEKICK: APP}
    assert unbound(GRAPH, standing(UP, app=Standing()).__getitem__) == {SIDEKICK: APP}
    assert unbound(GRAPH, standing(UP, app=Standing(Sub.AUTO_RESTART)).__getitem__) == {}, "it comes back"
    assert unbound(GRAPH, standing(UP, app=Standing(Sub.DEAD, Job.START)).__getitem__) == {}, "it is coming"
    assert unbound(GRAPH, standing(UP, sidekick=Standing(), app=Standing()).__getitem__) == {}, "both are down"
    assert unbound(GRAPH, UP.__getitem__) == {}


names = st.sampled_from("abcdef")
links = st.builds(
    Links,
    after=st.lists(names, max_size=3).map(tuple),
    requires=st.lists(names, max_size=2).map(tuple),
    binds_to=st.lists(names, max_size=2).map(tuple),
    part_of=st.lists(names, max_size=2).map(tuple),
)
requests = st.lists(st.tuples(st.sampled_from(["start", "stop"]), names), min_size=1, max_size=6)


@given(st.fixed_dictionaries(dict.fromkeys("abcdef", links)), requests)
def test_every_job_comes_to_its_end_whatever_the_links(links: Mapping[str, Links], requests: Sequence[tuple[str, str]]) -> None:
    graph = Graph(links)
    subs = dict.fromkeys("abcdef", Sub.DEAD)
    jobs = dict.fromkeys("abcdef", Job.NONE)

    def at(name: str) -> Standing:
        return Standing(subs[name], jobs[name])

    for what, name in requests:
        jobs |= (start if what == "start" else stop)(graph, at, [name])
        for _ in range(100):
            for other in "abcdef":
                jobs[other], _ = settle(jobs[other], subs[other])
            pending = {other: job for other, job in jobs.items() if job is not Job.NONE}
            if not pending:
                break
            free, _ = ready(graph, at, pending)
            for other in free:
                up = jobs[other] is Job.START
                jobs[other], subs[other] = begun(jobs[other]), Sub.RUNNING if up else Sub.DEAD
                jobs[other], _ = settle(jobs[other], subs[other])
        assert not [name for name, job in jobs.items() if job in WAITING]
        assert (subs[name] in AT_REST) == (what == "stop")
