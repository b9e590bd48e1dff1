"""The rolling change at work, with a cluster that is a script: stores that go away, and people who do not wait any longer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from argosy.cli.client import Client, Unreachable
from argosy.cli.rolling.groups import Group
from argosy.cli.rolling.loop import Rollout
from argosy.cli.rolling.plan import Rules, Stage
from argosy.cli.rolling.wanted import Change, restarts
from argosy.errors import Conflict, StoreUnavailable

M1 = "1" * 32
NAMES = ("a.service", "b.service")
GROUPS = [Group(name, (name,)) for name in NAMES]
CHANGES = {name: Change(name, "new", "new", "old", "old", revision=1) for name in NAMES}
RULES = Rules(timeout=30.0, steady=2.0)


class Cluster(Client):
    """Two units on one machine that come to what is told at once. `before` is called with the path of each question and may raise."""

    def __init__(self, before: Callable[[str], None] = lambda path: None) -> None:
        super().__init__([])
        self.before = before
        self.now = 1000.0
        self.units = {name: self.unit(name, 1, "old") for name in NAMES}
        self.told: list[dict[str, Any]] = []
        self.said: list[str] = []

    def unit(self, name: str, launch: int, hash: str, active: str = "active") -> dict[str, Any]:
        place = {"machine": M1, "target": "launched", "launch": launch}
        state = {"machine": M1, "launch": launch, "active": active, "hash": hash, "invocation": str(launch)}
        return {
            "name": name,
            "target": "launched",
            "launch": launch,
            "hash": hash,
            "revision": launch,
            "places": [place],
            "states": [state],
        }

    def ask(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        self.before(path)
        if path == "/machines":
            return {"machines": [{"id": M1, "address": "10.0.0.1"}]}
        if method == "GET":
            self.now += max(0.0, (timeout or self.timeout) - self.timeout)
            return {"units": list(self.units.values()), "index": 7}
        (wish,) = body["units"]
        unit = self.units.get(wish["name"])
        if unit is None or wish.get("revision", unit["revision"]) != unit["revision"]:
            stands = f"stands at revision {unit['revision']}" if unit else "does not exist"
            return {"results": [{"name": wish["name"], "error": {"code": 409, "message": f"it {stands}, not at {wish['revision']}"}}]}
        self.told.append(wish)
        launch = unit["launch"] + 1
        self.units[wish["name"]] = self.unit(wish["name"], launch, wish.get("text", unit["hash"]))
        return {"results": [{"name": wish["name"], "launch": launch, "revision": launch}]}

    def rollout(self, rules: Rules = RULES, changes: Mapping[str, Change] = CHANGES) -> Rollout:
        return Rollout(self, GROUPS, changes, rules, self.said.append, monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_one_after_the_other_each_conditioned_on_what_was_read() -> None:
    cluster = Cluster()
    report = cluster.rollout().run()
    assert (report.good, [item.stage for item in report.items]) == (True, [Stage.READY, Stage.READY])
    assert cluster.told == [{"name": name, "text": "new", "replace": True, "revision": 1, "restart": True} for name in NAMES]
    assert cluster.said == [
        "a.service: updating, to begin with",
        "a.service: healthy again after 2.0 s (1 of 2)",
        "b.service: updating, all before it are healthy",
        "b.service: healthy again after 2.0 s (2 of 2)",
    ]


def test_a_store_that_is_away_for_a_while_is_waited_for() -> None:
    def away(path: str) -> None:
        if path.startswith("/units?") and 1000.5 < cluster.now < 1010:
            raise StoreUnavailable("the store is away")

    cluster = Cluster(away)
    assert cluster.rollout().run().good
    assert cluster.now > 1010


def awaiting(cluster: Cluster, *, written: bool, seconds: float, per_unit: bool = False) -> Callable[..., Any]:
    """Asking the cluster, whose store is away for so many seconds when b.service is told first; what it is told is `written` or not."""
    ask, begun = cluster.ask, [0.0]

    def asked(method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        if method != "POST" or body["units"][0]["name"] != "b.service":
            return ask(method, path, body, timeout)
        begun[0] = begun[0] or cluster.now
        if cluster.now - begun[0] >= seconds:
            return ask(method, path, body, timeout)
        if written:
            ask(method, path, body, timeout)
        if per_unit:
            return {"results": [{"name": "b.service", "error": {"code": 503, "message": "the store is away"}}]}
        raise StoreUnavailable("the store is away")

    return asked


@pytest.mark.parametrize("restart", [False, True], ids=["update", "restart"])
@pytest.mark.parametrize("per_unit", [False, True], ids=["no answer", "an answer of the unit"])
@pytest.mark.parametrize("written", [False, True], ids=["not written", "written all the same"])
def test_a_store_that_is_away_when_a_unit_is_told_is_asked_again_and_writes_it_once(written: bool, per_unit: bool, restart: bool) -> None:
    cluster = Cluster()
    changes = restarts(NAMES, cluster.units).changes if restart else CHANGES
    cluster.ask = awaiting(cluster, written=written, seconds=5.0, per_unit=per_unit)  # type: ignore[method-assign]
    report = cluster.rollout(changes=changes).run()
    assert (report.good, report.reason) == (True, "all are as wished and healthy")
    assert [wish["name"] for wish in cluster.told] == list(NAMES)
    assert {unit["launch"] for unit in cluster.units.values()} == {2}


def test_what_was_written_without_an_answer_is_put_back_at_its_revision() -> None:
    cluster = Cluster()
    cluster.ask = awaiting(cluster, written=True, seconds=5.0)  # type: ignore[method-assign]
    put = cluster.unit

    def failing(name: str, launch: int, hash: str, active: str = "active") -> dict[str, Any]:
        return put(name, launch, hash, "failed" if (name, hash) == ("b.service", "new") else active)

    cluster.unit = failing  # type: ignore[method-assign]
    report = cluster.rollout(Rules(timeout=30.0, steady=2.0, rollback=True)).run()
    assert (report.good, report.having(Stage.RESTORED)) == (False, list(NAMES))
    assert [(wish["name"], wish["text"], wish["revision"]) for wish in cluster.told][1:] == [
        ("b.service", "new", 1),
        ("b.service", "old", 2),
        ("a.service", "old", 2),
    ]


def test_one_that_is_written_only_after_the_look_is_found_when_it_is_refused_the_second_time() -> None:
    cluster = Cluster()
    ask = cluster.ask
    late: list[Any] = []

    def asked(method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        if method == "POST" and body["units"][0]["name"] == "b.service":
            if not late:
                late.append(body)
                raise Unreachable("the agent gave no answer")
            ask("POST", path, late[0])
        return ask(method, path, body, timeout)

    cluster.ask = asked  # type: ignore[method-assign]
    report = cluster.rollout().run()
    assert (report.good, len(cluster.told)) == (True, 2)


def test_a_store_that_stays_away_when_a_unit_is_told_ends_it_when_its_time_is_up() -> None:
    cluster = Cluster()
    cluster.ask = awaiting(cluster, written=False, seconds=1e9)  # type: ignore[method-assign]
    report = cluster.rollout().run()
    assert (report.good, report.reason) == (False, "b.service: the store is away")
    assert 1030 <= cluster.now < 1040


def test_somebody_elses_text_that_came_while_the_store_was_away_is_not_taken_for_ours() -> None:
    cluster = Cluster()
    ask = awaiting(cluster, written=False, seconds=5.0)

    def asked(method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        try:
            return ask(method, path, body, timeout)
        except StoreUnavailable:
            cluster.units["b.service"] |= {"hash": "theirs", "revision": 9}
            raise

    cluster.ask = asked  # type: ignore[method-assign]
    report = cluster.rollout().run()
    assert (report.good, report.reason) == (False, "b.service: it stands at revision 9, not at 1")
    assert cluster.units["b.service"]["hash"] == "theirs"


def test_one_that_is_away_from_the_beginning_is_said_at_once() -> None:
    def away(path: str) -> None:
        raise StoreUnavailable("the store is away")

    with pytest.raises(StoreUnavailable):
        Cluster(away).rollout().run()


def test_somebody_who_was_faster_stops_it_before_anything_is_overwritten() -> None:
    def faster(path: str) -> None:
        if path == "/units" and cluster.told:
            raise Conflict("unit b.service stands at revision 9, not at revision 1", remedy="read it again: somebody was faster")

    cluster = Cluster(faster)
    report = cluster.rollout().run()
    assert not report.good
    assert report.reason == "b.service: unit b.service stands at revision 9, not at revision 1 (read it again: somebody was faster)"
    assert (report.having(Stage.READY), report.having(Stage.FAILED)) == (["a.service"], ["b.service"])


MEANWHILE: list[tuple[str, dict[str, Any] | None, str]] = [
    ("another text is not overwritten", {"hash": "theirs", "revision": 9}, "b.service: it stands at revision 9, not at 1"),
    (
        "a unit that was stopped is not launched again",
        {"target": "inactive", "revision": 9},
        "b.service: it stands at revision 9, not at 1",
    ),
    ("a unit that was destroyed is not made again", None, "b.service: it does not exist, not at 1"),
]


@pytest.mark.parametrize(("sentence", "change", "reason"), MEANWHILE, ids=[row[0] for row in MEANWHILE])
@pytest.mark.parametrize("restart", [False, True], ids=["update", "restart"])
def test_what_somebody_else_does_to_a_unit_that_has_not_had_its_turn(
    sentence: str, change: dict[str, Any] | None, reason: str, restart: bool
) -> None:
    def meanwhile(path: str) -> None:
        if cluster.told and change is None:
            cluster.units.pop("b.service", None)
        elif cluster.told and change is not None:
            cluster.units["b.service"] |= change

    cluster = Cluster(meanwhile)
    changes = restarts(NAMES, cluster.units).changes if restart else CHANGES
    report = cluster.rollout(Rules(timeout=30.0, steady=2.0, rollback=True), changes).run()
    assert (report.good, report.reason) == (False, reason)
    assert [wish["name"] for wish in cluster.told] == ["a.service", "a.service"], "only what this run has changed is put back"
    assert (report.having(Stage.RESTORED), report.having(Stage.FAILED)) == (["a.service"], ["b.service"])


def test_interrupted_it_says_how_far_it_came() -> None:
    def interrupt(path: str) -> None:
        if cluster.now > 1003:
            raise KeyboardInterrupt

    cluster = Cluster(interrupt)
    report = cluster.rollout().run()
    assert (report.interrupted, report.good) == (True, False)
    assert (report.having(Stage.READY), report.having(Stage.CHANGING)) == (["a.service"], ["b.service"])


def test_put_back_with_the_text_before_at_the_revision_that_was_written() -> None:
    cluster = Cluster()
    put = cluster.unit

    def failing(name: str, launch: int, hash: str, active: str = "active") -> dict[str, Any]:
        return put(name, launch, hash, "failed" if (name, hash) == ("b.service", "new") else active)

    cluster.unit = failing  # type: ignore[method-assign]
    report = cluster.rollout(Rules(timeout=30.0, steady=2.0, rollback=True)).run()
    assert not report.good
    assert report.having(Stage.RESTORED) == list(NAMES)
    assert [(wish["name"], wish["text"], wish["revision"]) for wish in cluster.told] == [
        ("a.service", "new", 1),
        ("b.service", "new", 1),
        ("b.service", "old", 2),
        ("a.service", "old", 2),
    ]
