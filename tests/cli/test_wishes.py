"""Which texts are sent, and what is worth a warning: a table of what lies here and what the cluster knows."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.api.shapes import NamedWish, UnitView
from argosy.cli.files import Given
from argosy.cli.telling import plain
from argosy.cli.wishes import decide
from argosy.errors import Conflict
from argosy.model import Target
from argosy.unit.parse import parse

MINE = parse("[Service]\nExecStart=/bin/true\n")
OTHER = parse("[Service]\nExecStart=/bin/false\n")
FILE = Given("a.service", MINE, "./a.service")
INSTANCE = Given("t@1.service", MINE, "t@.service", "t@.service")


def known(name: str, hash: str = MINE.hash, target: Target = Target.INACTIVE) -> UnitView:
    return UnitView(name, target, hash=hash)


ROWS: list[tuple[str, Given, list[UnitView], bool, dict[str, Any], str]] = [
    ("a name alone is sent alone", Given("a.service"), [], False, {}, ""),
    ("a file that is unknown is sent", FILE, [], False, {"text": MINE.text}, ""),
    ("a file that is known is not", FILE, [known("a.service")], False, {}, ""),
    ("one that differs is warned of", FILE, [known("a.service", OTHER.hash)], False, {}, "WARNING: Unit a.service in registry differs"),
    ("or replaces", FILE, [known("a.service", OTHER.hash)], True, {"text": MINE.text, "replace": True}, ""),
    ("the same text replaces nothing", FILE, [known("a.service")], True, {}, "Found same Unit(a.service) in Registry, nothing to do"),
    ("an instance of a template here", INSTANCE, [], False, {"text": MINE.text}, ""),
    ("an instance of a template there", INSTANCE, [known("t@.service")], False, {}, ""),
    ("the template there counts", INSTANCE, [known("t@.service", OTHER.hash)], False, {}, "WARNING: Unit t@.service in registry differs"),
    ("unless it is to be replaced", INSTANCE, [known("t@.service", OTHER.hash)], True, {"text": MINE.text}, ""),
    (
        "an instance that is known",
        INSTANCE,
        [known("t@1.service", OTHER.hash), known("t@.service")],
        False,
        {},
        "WARNING: Unit t@1.service in registry differs from local template unit file t@.service. Add --replace to override.",
    ),
]


@pytest.mark.parametrize(("sentence", "given", "there", "replace", "wish", "said"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_sent(sentence: str, given: Given, there: list[UnitView], replace: bool, wish: dict[str, Any], said: str) -> None:
    made = decide("start", [given], {unit.name: unit for unit in there}, replace=replace, target=Target.LAUNCHED)
    assert made.wishes == [NamedWish(name=given.name, target=Target.LAUNCHED, **wish)]
    lines = [*made.warnings, *made.notes]
    assert len(lines) == bool(said)
    assert all(line.startswith(said) for line in lines)


def test_a_template_that_differs_is_warned_of_once_for_all_its_instances() -> None:
    given = [INSTANCE, INSTANCE._replace(name="t@2.service")]
    made = decide("start", given, {"t@.service": known("t@.service", OTHER.hash)}, replace=False)
    assert len(made.warnings) == 1


@pytest.mark.parametrize(
    ("verb", "target", "allowed"),
    [
        ("submit", "inactive", True),
        ("submit", "loaded", False),
        ("submit", "launched", False),
        ("load", "loaded", True),
        ("load", "launched", False),
        ("start", "launched", True),
    ],
)
def test_a_verb_replaces_what_is_not_further_than_it_goes(verb: str, target: str, allowed: bool) -> None:
    there = {"a.service": known("a.service", OTHER.hash, Target(target))}
    if allowed:
        assert decide(verb, [FILE], there, replace=True).wishes == [NamedWish(name="a.service", text=MINE.text, replace=True)]
    else:
        with pytest.raises(Conflict, match=f"can not replace Unit\\(a.service\\) in state '{target}', use the appropriate command"):
            decide(verb, [FILE], there, replace=True)


def test_units_that_need_no_text() -> None:
    assert plain(["a.service"], restart=True).wishes == [NamedWish(name="a.service", restart=True)]
