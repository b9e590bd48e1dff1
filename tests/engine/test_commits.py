"""Actions as commits that the store accepts."""

from __future__ import annotations

from argosy.engine.actions import Action, Place, Remove, Update
from argosy.engine.commits import MOST_KEYS, Commit, commits
from argosy.model import Placement, Target
from argosy.state import keys
from argosy.store.base import MAX_COMMIT, Condition, Delete, Put, check_commit


def place(unit: str, machine: str = "m1", *, text: str = "", ordered: bool = False) -> Place:
    return Place(Placement(unit, machine, text, Target.LAUNCHED), "", ordered)


def keys_of(made: tuple[Commit, ...]) -> list[list[str]]:
    return [[write.key.removeprefix(keys.PLACEMENTS) for write in commit.writes] for commit in made]


def test_a_commit_holds_only_while_this_leader_leads_and_nobody_else_has_written() -> None:
    actions: list[Action] = [Remove("a", "m1", ""), place("a", "m2"), Update(Placement("b", "m1", "", Target.LOADED), "")]
    made = commits(actions, {("m1", "a"): 5, ("m1", "b"): 6}, 3)
    (commit,) = made.free
    assert commit.conditions == (
        Condition(keys.ENGINE_LEADER, 3),
        Condition("/argosy/placements/m1/a", 5),
        Condition("/argosy/placements/m2/a", 0),
        Condition("/argosy/placements/m1/b", 6),
    )
    assert isinstance(commit.writes[0], Delete)
    assert isinstance(commit.writes[1], Put)
    assert commit.placements == (("m1", "a"), ("m2", "a"), ("m1", "b"))
    assert made.chain == ()


def test_ordered_actions_are_a_chain_and_keep_their_order() -> None:
    actions: list[Action] = [place("a"), place("b", ordered=True), Remove("c", "m1", "", ordered=True), place("d")]
    made = commits(actions, {}, 3)
    assert keys_of(made.chain) == [["m1/b", "m1/c"]]
    assert keys_of(made.free) == [["m1/a", "m1/d"]]


def test_what_is_done_about_one_unit_stays_in_one_commit() -> None:
    fill: list[Action] = [place(f"x{n}") for n in range(MOST_KEYS - 1)]
    made = commits([*fill, Remove("a", "m1", ""), place("a", "m2")], {}, 3)
    assert [len(commit.writes) for commit in made.free] == [MOST_KEYS - 1, 2]
    assert keys_of(made.free)[1] == ["m1/a", "m2/a"]


def test_commits_are_as_large_as_the_store_allows_and_no_larger() -> None:
    small: list[Action] = [place(f"x{n}") for n in range(500)]
    large: list[Action] = [place(f"y{n}", text="\n" * 200_000) for n in range(20)]
    many: list[Action] = [place("g", f"m{n}", text="z" * 100_000) for n in range(200)]
    made = commits([*small, *large, *many], {}, 3)
    assert all(check_commit(commit.conditions, commit.writes) == "" for commit in made.free)
    assert sum(len(commit.writes) for commit in made.free) == 720
    assert len(made.free[0].writes) == MOST_KEYS
    assert max(sum(len(write.value) for write in commit.writes if isinstance(write, Put)) for commit in made.free) < MAX_COMMIT


def test_nothing_to_do_is_no_commit() -> None:
    made = commits([], {}, 3)
    assert (made.chain, made.free) == ((), ())
