"""Who pushes whom away, and which pushes would come back."""

from __future__ import annotations

import pytest

from argosy.placement.replacing import comes_back, pushed_by, pusher_of
from tests.placement.scenes import Units, cluster, wants

NOTHING = wants()

PUSHES: list[tuple[str, Units, list[str]]] = [
    ("a unit pushes what its glob matches", {"new": (wants(replaces=("old*",)), "m1"), "old": (NOTHING, "m1")}, ["old"]),
    ("not itself", {"new": (wants(replaces=("*",)), "m1")}, []),
    ("not what is on another machine", {"new": (wants(replaces=("old",)), "m1"), "old": (NOTHING, "m2")}, []),
    ("not one that replaces it, too", {"new": (wants(replaces=("old",)), "m1"), "old": (wants(replaces=("new",)), "m1")}, []),
    (
        "one that replaces a third: a chain is no circle",
        {"new": (wants(replaces=("old",)), "m1"), "old": (wants(replaces=("older",)), "m1"), "older": (NOTHING, "m1")},
        ["old"],
    ),
    (
        "not in a circle of three, which would go round for ever",
        {"new": (wants(replaces=("b",)), "m1"), "b": (wants(replaces=("c",)), "m1"), "c": (wants(replaces=("new",)), "m2")},
        [],
    ),
    (
        "not one that it follows by way of another: it would be taken along",
        {"new": (wants(replaces=("old",), peers=("mid",)), "m1"), "mid": (wants(peers=("old",)), "m1"), "old": (NOTHING, "m1")},
        [],
    ),
    (
        "one whose followers have nothing to do with it",
        {"new": (wants(replaces=("old",)), "m1"), "side": (wants(peers=("old",)), "m1"), "old": (NOTHING, "m1")},
        ["old"],
    ),
]


@pytest.mark.parametrize(("sentence", "units", "pushed"), PUSHES)
def test_pushes(sentence: str, units: Units, pushed: list[str]) -> None:
    made = cluster("m1 m2", units)
    assert pushed_by(made, "new", "m1") == pushed, sentence
    for name in units:
        if name != "new" and "m1" in made.where[name]:
            assert (pusher_of(made, name, "m1") == "new") is (name in pushed), sentence


def test_a_unit_that_is_unknown_or_placed_nowhere_pushes_nobody() -> None:
    made = cluster("m1", {"new": (wants(replaces=("old",)), ""), "old": (NOTHING, "m1")})
    assert pusher_of(made, "old", "m1") == ""
    assert pushed_by(made, "no", "m1") == []
    assert pushed_by(made, "new", "m9") == []


def test_two_instances_with_the_same_replaces_ignore_it() -> None:
    made = cluster("m1", {f"a@{n}": (wants(replaces=("a@*",)), "m1") for n in (1, 2)})
    assert comes_back(made, "a@1", "a@2")
    assert pushed_by(made, "a@1", "m1") == []
