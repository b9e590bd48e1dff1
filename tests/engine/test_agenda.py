"""The agenda's order."""

from __future__ import annotations

from itertools import permutations

import pytest

from argosy.engine.agenda import Agenda


def test_urgent_items_come_first_and_each_once_whatever_the_order_in_which_they_were_added() -> None:
    for order in permutations([("b", "", False), ("a", "", False), ("c", "", True), ("b", "m1", True), ("a", "", True)]):
        agenda = Agenda()
        for unit, machine, urgent in order:
            agenda.add(unit, machine, urgent=urgent)
        assert len(agenda) == 4
        assert [agenda.pop() for _ in range(4)] == [("a", ""), ("b", "m1"), ("c", ""), ("b", "")]
        assert not agenda


def test_an_item_can_be_added_again_after_it_was_taken() -> None:
    agenda = Agenda()
    agenda.add("a")
    assert agenda.pop() == ("a", "")
    assert ("a", "") not in agenda
    agenda.add("a")
    assert ("a", "") in agenda
    assert agenda.pop() == ("a", "")
    with pytest.raises(IndexError):
        agenda.pop()
