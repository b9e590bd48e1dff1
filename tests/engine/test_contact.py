"""Since when the store has been there."""

from __future__ import annotations

from argosy.engine.contact import Contact
from tests.conftest import FakeClock


async def test_contact_is_settled_after_it_has_lasted(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    assert contact.settled(10) == 10
    contact.seen()
    assert contact.settled(10) == 10
    for _ in range(3):
        await clock.advance(4)
        contact.seen()
    assert contact.settled(10) == 0
    assert contact.settled(20) == 8


async def test_a_failure_and_a_long_silence_both_begin_it_anew(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    contact.seen()
    for _ in range(5):
        await clock.advance(4)
        contact.seen()
    contact.missed()
    assert contact.settled(10) == 10
    contact.seen()
    assert contact.settled(10) == 10
    await clock.advance(5)
    contact.seen()
    assert contact.settled(10) == 5
    await clock.advance(6)
    assert contact.settled(10) == 10, "nobody has spoken to the store for longer than the gap"
    contact.seen()
    assert contact.settled(10) == 10


async def test_the_wall_clock_does_not_matter(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    contact.seen()
    await clock.advance(4)
    clock.jump(-86400)
    contact.seen()
    assert contact.settled(10) == 6
