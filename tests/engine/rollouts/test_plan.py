"""What a rolling change does next: a table of items, and a property over whole runs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.engine.rollouts.plan import (
    Action,
    Finish,
    Health,
    Item,
    Items,
    Restore,
    Touch,
    Verdict,
    Wait,
    begin,
    begun,
    broken,
    plan,
    seen,
)
from argosy.model import RolloutRules, RolloutWish, Stage

NOW = 100.0
GOOD = Health(Verdict.READY, runs=(("a", "1"),), done=1)
AGAIN = Health(Verdict.READY, runs=(("a", "2"),), done=1)
COMING = Health(Verdict.WAITING, "it starts")
BAD = Health(Verdict.FAILED, "exit status 1")
RULES = RolloutRules(parallel=1, timeout=60.0, steady=2.0)
BACK = RolloutRules(parallel=1, timeout=60.0, steady=2.0, rollback=True)


def item(name: str, stage: Stage = Stage.WAITING, *, touched: bool = True, failure: str = "", since: float = NOW - 1) -> Item:
    return Item(name, stage, failure, failure, touched=touched and stage is not Stage.WAITING, since=since)


def failed(name: str, *, touched: bool = True) -> Item:
    return item(name, Stage.FAILED, touched=touched, failure="exit status 1")


def beside(name: str) -> Item:
    """One that failed while its old copy runs."""
    return msgspec.structs.replace(failed(name), old=True)


def short(actions: tuple[Action, ...]) -> list[str]:
    words = []
    for action in actions:
        match action:
            case Touch() | Restore():
                words.append(f"{type(action).__name__} {action.name}")
            case Wait():
                words.append(f"Wait {action.pause:g}")
            case Finish():
                words.append("Done" if action.good else f"Stop: {action.reason}")
        assert action.reason
    return words


PLANS: list[tuple[str, list[Item], RolloutRules, list[str]]] = [
    ("the first is touched", [item("a"), item("b")], RULES, ["Touch a"]),
    ("the next is not, while it comes", [item("a", Stage.CHANGING), item("b")], RULES, ["Wait 0.5"]),
    ("but when it is healthy", [item("a", Stage.READY), item("b")], RULES, ["Touch b"]),
    ("or was as wished before", [item("a", Stage.SKIPPED), item("b")], RULES, ["Touch b"]),
    ("two at a time, if so asked", [item("a", Stage.CHANGING), item("b"), item("c")], RolloutRules(parallel=2), ["Touch b"]),
    ("and no more", [item("a"), item("b"), item("c")], RolloutRules(parallel=2), ["Touch a", "Touch b"]),
    ("when all are healthy it is done", [item("a", Stage.READY), item("b", Stage.SKIPPED)], RULES, ["Done"]),
    ("nothing to do is done", [], RULES, ["Done"]),
    ("a failure stops it", [item("a", Stage.READY), failed("b"), item("c")], RULES, ["Stop: b: exit status 1"]),
    ("after those that are on the way", [failed("a"), item("b", Stage.CHANGING), item("c")], RolloutRules(parallel=2), ["Wait 0.5"]),
    ("with rollback the failed one goes back first", [item("a", Stage.READY), failed("b"), item("c")], BACK, ["Restore b"]),
    (
        "then those that came well",
        [item("a", Stage.READY), item("b", Stage.RESTORED, failure="exit status 1"), item("c")],
        BACK,
        ["Restore a"],
    ),
    (
        "one at a time",
        [item("a", Stage.READY), item("b", Stage.RESTORING, failure="exit status 1"), item("c")],
        BACK,
        ["Wait 0.5"],
    ),
    (
        "and when all are back it stops, with what began it",
        [item("a", Stage.RESTORED), item("b", Stage.RESTORED, failure="exit status 1"), item("c")],
        BACK,
        ["Stop: b: exit status 1"],
    ),
    (
        "what this run has not changed cannot be put back",
        [failed("a", touched=False), item("b")],
        BACK,
        ["Stop: a: exit status 1"],
    ),
    (
        "one that fails with its old text too ends it",
        [item("a", Stage.READY), item("b", Stage.LOST, failure="exit status 1"), item("c")],
        BACK,
        ["Stop: b fails with what it was before, too: exit status 1"],
    ),
    ("one whose old copy still runs goes back in any case", [item("a", Stage.READY), beside("b"), item("c")], RULES, ["Restore b"]),
    ("the end of a time is waited for exactly", [item("a", Stage.CHANGING, since=NOW - 59.7)], RULES, ["Wait 0.3"]),
]


@pytest.mark.parametrize(("sentence", "items", "rules", "expected"), PLANS, ids=[row[0] for row in PLANS])
def test_what_is_next(sentence: str, items: list[Item], rules: RolloutRules, expected: list[str]) -> None:
    assert short(plan(tuple(items), rules, NOW)) == expected


RUN, PAUSE, ABORT, ROLLBACK = RolloutWish.RUN, RolloutWish.PAUSE, RolloutWish.ABORT, RolloutWish.ROLLBACK
WISHES: list[tuple[str, list[Item], RolloutRules, RolloutWish, list[str]]] = [
    ("paused, nothing new is touched", [item("a", Stage.READY), item("b")], RULES, PAUSE, ["Wait 0.5"]),
    ("what is on its way is looked at", [item("a", Stage.CHANGING, since=NOW - 59.7), item("b")], RULES, PAUSE, ["Wait 0.3"]),
    ("when all are healthy it is done, paused or not", [item("a", Stage.READY)], RULES, PAUSE, ["Done"]),
    ("paused, nothing is put back either", [failed("a"), item("b")], BACK, PAUSE, ["Wait 0.5"]),
    ("ended, it stays where it is", [item("a", Stage.READY), item("b")], RULES, ABORT, ["Stop: ended by an operator"]),
    ("... also if a failure would go back", [item("a", Stage.READY), failed("b")], BACK, ABORT, ["Stop: b: exit status 1"]),
    ("... but for one whose old copy runs", [item("a", Stage.READY), beside("b")], BACK, ABORT, ["Restore b"]),
    ("... after what is on its way", [item("a", Stage.CHANGING), item("b")], RULES, ABORT, ["Wait 0.5"]),
    ("told to go back it does", [item("a", Stage.READY), item("b", Stage.SKIPPED), item("c")], RULES, ROLLBACK, ["Restore a"]),
    ("... and then ends", [item("a", Stage.RESTORED), item("b")], RULES, ROLLBACK, ["Stop: ended by an operator"]),
]


@pytest.mark.parametrize(("sentence", "items", "rules", "wish", "expected"), WISHES, ids=[row[0] for row in WISHES])
def test_what_the_operator_wants(sentence: str, items: list[Item], rules: RolloutRules, wish: RolloutWish, expected: list[str]) -> None:
    assert short(plan(tuple(items), rules, NOW, wish)) == expected


OLD = Health(Verdict.READY, runs=(("a", "1"),), done=1, old=True)


def test_an_old_copy_is_released_when_the_new_one_is_steady_and_the_group_is_ready_when_it_has_gone() -> None:
    fresh = item("a", Stage.CHANGING)
    watched = one(one(fresh, OLD), OLD, NOW + 1)
    assert (watched.stage, watched.released) == (Stage.CHANGING, False)
    released = one(watched, OLD, NOW + 2)
    assert (released.stage, released.released) == (Stage.CHANGING, True)
    assert one(released, GOOD, NOW + 3).stage is Stage.READY
    stuck = one(released, OLD, NOW + 62)
    assert (stuck.stage, stuck.old) == (Stage.FAILED, True)


def one(before: Item, health: Health, now: float = NOW, rules: RolloutRules = RULES) -> Item:
    return seen((before,), {before.name: health}, rules, now)[0]


SEEN: list[tuple[str, Item, list[tuple[float, Health]], Stage]] = [
    ("healthy for a moment is not enough", item("a", Stage.CHANGING), [(0, GOOD), (1.9, GOOD)], Stage.CHANGING),
    ("healthy for a while is", item("a", Stage.CHANGING), [(0, GOOD), (2.0, GOOD)], Stage.READY),
    ("a short doubt starts the while over", item("a", Stage.CHANGING), [(0, GOOD), (1, COMING), (1.5, GOOD), (3, GOOD)], Stage.CHANGING),
    ("what dies and is started again fails", item("a", Stage.CHANGING), [(0, GOOD), (1, AGAIN)], Stage.FAILED),
    ("a failure is one at once", item("a", Stage.CHANGING), [(0, BAD)], Stage.FAILED),
    ("time runs out", item("a", Stage.CHANGING, since=NOW), [(59, COMING), (60, COMING)], Stage.FAILED),
    (
        "but not for one that comes on",
        item("a", Stage.CHANGING, since=NOW),
        [(59, Health(Verdict.WAITING, "1 of 3", done=1)), (60, Health(Verdict.WAITING, "1 of 3", done=1))],
        Stage.CHANGING,
    ),
    (
        "what comes and goes does not come on",
        item("a", Stage.CHANGING, since=NOW),
        [(10 * count, Health(Verdict.WAITING, "it is not served yet", done=count % 2)) for count in range(1, 8)],
        Stage.FAILED,
    ),
    (
        "nor what is healthy for moments",
        item("a", Stage.CHANGING, since=NOW),
        [(10 * count, Health(Verdict.WAITING, "it is not served yet", done=0) if count % 2 else GOOD) for count in range(1, 10)],
        Stage.FAILED,
    ),
    ("a healthy one that fails later has failed", item("a", Stage.READY), [(0, BAD)], Stage.FAILED),
    ("one that is in doubt later is waited for", item("a", Stage.SKIPPED), [(0, COMING)], Stage.CHANGING),
    ("put back and healthy", item("a", Stage.RESTORING), [(0, GOOD), (2, GOOD)], Stage.RESTORED),
    ("put back and failing all the same", item("a", Stage.RESTORING), [(0, BAD)], Stage.LOST),
    ("one whose turn has not come is not judged", item("a"), [(0, BAD)], Stage.WAITING),
    ("nor one that failed", failed("a"), [(0, GOOD), (5, GOOD)], Stage.FAILED),
]


@pytest.mark.parametrize(("sentence", "before", "health", "stage"), SEEN, ids=[row[0] for row in SEEN])
def test_what_is_seen_moves_an_item(sentence: str, before: Item, health: list[tuple[float, Health]], stage: Stage) -> None:
    after = before
    for later, found in health:
        after = one(after, found, NOW + later)
    assert after.stage is stage


def test_the_first_failure_is_remembered_when_it_is_put_back() -> None:
    items = begun(seen(begun((Item("a"),), "a", NOW), {"a": BAD}, BACK, NOW), "a", NOW, restoring=True)
    assert (items[0].stage, items[0].failure, items[0].touched) == (Stage.RESTORING, "exit status 1", True)


def test_one_that_cannot_be_told_has_failed_and_the_others_stay() -> None:
    items = broken((Item("a"), Item("b")), "b", "somebody was faster")
    assert [(found.stage, found.failure) for found in items] == [(Stage.WAITING, ""), (Stage.FAILED, "somebody was faster")]


@pytest.mark.parametrize("touched", [True, False])
def test_one_of_which_nothing_was_changed_is_not_put_back(touched: bool) -> None:
    items = broken(begun((Item("a"),), "a", NOW), "a", "somebody was faster", touched=touched)
    assert short(plan(items, BACK, NOW)) == (["Restore a"] if touched else ["Stop: a: somebody was faster"])


def test_the_unhealthy_are_first_and_what_is_as_wished_is_skipped_or_waited_for() -> None:
    items = begin({"a": GOOD, "b": BAD, "c": GOOD, "d": COMING}, ["c", "d"], NOW)
    assert [(found.name, found.stage) for found in items] == [
        ("b", Stage.WAITING),
        ("d", Stage.CHANGING),
        ("a", Stage.WAITING),
        ("c", Stage.SKIPPED),
    ]


@given(
    st.lists(st.sampled_from([GOOD, COMING, BAD]), min_size=1, max_size=6),
    st.integers(1, 3),
    st.booleans(),
)
def test_a_run_ends_never_has_too_many_down_and_touches_nothing_after_a_failure(fates: list[Health], parallel: int, rollback: bool) -> None:
    """Each group comes to its fate when it is touched, and is healthy before and when it is put back."""
    rules = RolloutRules(parallel, timeout=5.0, steady=1.0, rollback=rollback)
    names = [f"u{number}" for number in range(len(fates))]
    health = dict.fromkeys(names, GOOD)
    items: Items = begin(health, [], NOW)
    now = NOW
    ended: Finish | None = None
    for _ in range(1000):
        items = seen(items, health, rules, now)
        down = [found for found in items if found.stage in (Stage.CHANGING, Stage.RESTORING)]
        assert len(down) <= parallel
        failure = any(found.failure for found in items)
        for action in plan(items, rules, now):
            match action:
                case Touch():
                    assert not failure
                    items = begun(items, action.name, now)
                    health[action.name] = fates[names.index(action.name)]
                case Restore():
                    assert failure
                    assert rollback
                    items = begun(items, action.name, now, restoring=True)
                    health[action.name] = GOOD
                case Wait():
                    now += action.pause
                case Finish():
                    ended = action
        if ended:
            break
    assert ended is not None
    assert ended.good == all(fate is GOOD for fate in fates)
    if not ended.good and rollback:
        assert all(health[name] is GOOD for name in names)
        assert not any(found.stage in (Stage.READY, Stage.FAILED) for found in items)
