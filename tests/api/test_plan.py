"""What a wish makes of a unit: a table of rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.plan import change
from argosy.api.shapes import Wish
from argosy.errors import ArgosyError, Conflict, InvalidInput, InvalidUnit, NotFound
from argosy.model import Target, Unit
from argosy.state.desired import Stored

TEXT = "[Service]\nExecStart=/bin/true\n"
COMMENTED = "# why\n[Service]\nExecStart=/bin/true\n"
OTHER = "[Service]\nExecStart=/bin/false\n"
INACTIVE, LOADED, LAUNCHED = Target


def stored(target: Target = INACTIVE, launch: int = 0, name: str = "a.service") -> Stored:
    return Stored(Unit(name, TEXT, target, launch, 50.0), 7)


NEW = [
    ("a file", "a.service", Wish(text=TEXT), None, Unit("a.service", TEXT, submitted=100.0)),
    ("a file to start", "a.service", Wish(text=TEXT, target=LAUNCHED), None, Unit("a.service", TEXT, LAUNCHED, 1, 100.0)),
    ("a file to load", "a.service", Wish(text=TEXT, target=LOADED), None, Unit("a.service", TEXT, LOADED, 0, 100.0)),
    ("a file to start by restart", "a.service", Wish(text=TEXT, restart=True), None, Unit("a.service", TEXT, LAUNCHED, 1, 100.0)),
    ("an instance of a template", "a@1.service", Wish(target=LAUNCHED), Unit("a@.service", OTHER),
     Unit("a@1.service", OTHER, LAUNCHED, 1, 100.0)),
    ("an instance with a text of its own", "a@1.service", Wish(text=TEXT), Unit("a@.service", OTHER),
     Unit("a@1.service", TEXT, submitted=100.0)),
    ("a template", "a@.service", Wish(text=TEXT), None, Unit("a@.service", TEXT, submitted=100.0)),
    ("what must be new and is", "a.service", Wish(text=TEXT, revision=0), None, Unit("a.service", TEXT, submitted=100.0)),
]  # fmt: skip


@pytest.mark.parametrize(("said", "name", "wish", "template", "unit"), NEW, ids=[row[0] for row in NEW])
def test_new_units(said: str, name: str, wish: Wish, template: Unit | None, unit: Unit) -> None:
    planned = change(name, wish, None, template, 100.0)
    assert (planned.unit, planned.revision, planned.created, planned.changed) == (unit, 0, True, True)


KNOWN = [
    ("start", stored(), Wish(target=LAUNCHED), (LAUNCHED, 1, TEXT), True),
    ("start what runs", stored(LAUNCHED, 3), Wish(target=LAUNCHED), (LAUNCHED, 3, TEXT), False),
    ("start what was stopped", stored(LOADED, 3), Wish(target=LAUNCHED), (LAUNCHED, 4, TEXT), True),
    ("restart what runs", stored(LAUNCHED, 3), Wish(restart=True), (LAUNCHED, 4, TEXT), True),
    ("restart what does not run", stored(INACTIVE, 3), Wish(restart=True), (LAUNCHED, 4, TEXT), True),
    ("start and restart at once is one launch", stored(INACTIVE, 3), Wish(target=LAUNCHED, restart=True), (LAUNCHED, 4, TEXT), True),
    ("stop", stored(LAUNCHED, 3), Wish(target=LOADED), (LOADED, 3, TEXT), True),
    ("unload", stored(LAUNCHED, 3), Wish(target=INACTIVE), (INACTIVE, 3, TEXT), True),
    ("nothing", stored(LAUNCHED, 3), Wish(), (LAUNCHED, 3, TEXT), False),
    ("the same text", stored(LAUNCHED, 3), Wish(text=TEXT), (LAUNCHED, 3, TEXT), False),
    ("a text that differs in comments", stored(), Wish(text=COMMENTED), (INACTIVE, 0, TEXT), False),
    ("a replacing text that differs in comments", stored(), Wish(text=COMMENTED, replace=True), (INACTIVE, 0, COMMENTED), True),
    ("another text for what runs", stored(LAUNCHED, 3), Wish(text=OTHER, replace=True), (LAUNCHED, 3, OTHER), True),
    ("another text, started", stored(), Wish(text=OTHER, replace=True, target=LAUNCHED), (LAUNCHED, 1, OTHER), True),
    ("at its revision", stored(), Wish(target=LOADED, revision=7), (LOADED, 0, TEXT), True),
]


@pytest.mark.parametrize(("said", "current", "wish", "expected", "changed"), KNOWN, ids=[row[0] for row in KNOWN])
def test_known_units(said: str, current: Stored, wish: Wish, expected: tuple[Target, int, str], changed: bool) -> None:
    planned = change("a.service", wish, current, None, 100.0)
    assert (planned.unit.target, planned.unit.launch, planned.unit.text) == expected
    assert (planned.changed, planned.revision, planned.created, planned.unit.submitted) == (changed, 7, False, 50.0)
    assert planned.reason


REFUSED: list[tuple[str, str, Wish, Stored | None, type[ArgosyError], str]] = [
    ("a unit of nothing", "a.service", Wish(target=LAUNCHED), None, NotFound, "submit its file"),
    ("an instance of nothing", "a@1.service", Wish(), None, NotFound, "a@.service"),
    ("another text", "a.service", Wish(text=OTHER), stored(), Conflict, "replace"),
    ("another revision", "a.service", Wish(revision=6), stored(), Conflict, "stands at revision 7, not at revision 6"),
    ("what must be new and is not", "a.service", Wish(text=TEXT, revision=0), stored(), Conflict, "stands at revision 7"),
    ("what must be there and is not", "a.service", Wish(text=TEXT, revision=7), None, Conflict, "does not exist"),
    ("a template to start", "a@.service", Wish(text=TEXT, target=LAUNCHED), None, InvalidUnit, "a@1.service"),
    ("a template to restart", "a@.service", Wish(restart=True), stored(name="a@.service"), InvalidUnit, "a@1.service"),
    ("restart and stop", "a.service", Wish(restart=True, target=LOADED), stored(), InvalidInput, "leave one of them out"),
    ("a bad name", "a", Wish(text=TEXT), None, InvalidUnit, "dot"),
    ("a bad text", "a.service", Wish(text="x"), None, InvalidUnit, "line 1"),
    ("a bad text for a known unit", "a.service", Wish(text="x", replace=True), stored(), InvalidUnit, "line 1"),
]


@pytest.mark.parametrize(("said", "name", "wish", "current", "kind", "part"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(said: str, name: str, wish: Wish, current: Stored | None, kind: type[ArgosyError], part: str) -> None:
    with pytest.raises(kind) as refused:
        change(name, wish, current, None, 100.0)
    assert part in str(refused.value)


WISHES = st.builds(
    Wish,
    st.none() | st.sampled_from([TEXT, OTHER, COMMENTED]),
    st.none() | st.sampled_from(list(Target)),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(WISHES, max_size=12))
def test_launches_only_grow_and_a_wish_repeated_without_restart_changes_nothing(wishes: list[Wish]) -> None:
    current = stored()
    for number, wish in enumerate(wishes, 8):
        try:
            planned = change("a.service", wish, current, None, 100.0)
        except ArgosyError:
            continue
        assert 0 <= planned.unit.launch - current.unit.launch <= 1
        current = Stored(planned.unit, number)
        if not wish.restart:
            assert not change("a.service", wish, current, None, 200.0).changed
