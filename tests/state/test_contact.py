"""Since when the store has been there."""

from __future__ import annotations

from argosy.state.contact import Contact
from tests.conftest import FakeClock


async def in_touch(contact: Contact, clock: FakeClock, seconds: int) -> None:
    contact.seen()
    for _ in range(seconds):
        await clock.advance(1)
        contact.seen()


async def test_a_process_that_has_just_begun_waits_for_the_most(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    assert contact.settled(10) == 10, "it has not even spoken to the store"
    await in_touch(contact, clock, 0)
    assert contact.settled(10) == 10
    await in_touch(contact, clock, 8)
    assert contact.settled(10) == 2
    assert contact.settled(20) == 12
    await in_touch(contact, clock, 2)
    assert contact.settled(10) == 0


async def test_after_a_short_break_it_waits_as_long_as_the_break_was(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    await in_touch(contact, clock, 30)
    contact.missed()
    assert contact.settled(10) == 10, "the store is away"
    await clock.advance(2)
    contact.seen()
    assert contact.settled(10) == 2
    await in_touch(contact, clock, 2)
    assert contact.settled(10) == 0


async def test_after_a_long_break_it_waits_for_the_most(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    await in_touch(contact, clock, 30)
    contact.missed()
    await clock.advance(60)
    contact.seen()
    assert contact.settled(10) == 10


async def test_a_long_silence_is_a_break_even_if_nothing_failed(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    await in_touch(contact, clock, 30)
    await clock.advance(5)
    contact.seen()
    assert contact.settled(10) == 0
    await clock.advance(6)
    assert contact.settled(10) == 10, "nobody has spoken to the store for longer than the gap"
    contact.seen()
    assert contact.settled(10) == 6


async def test_a_second_break_soon_after_a_longer_one_does_not_shorten_the_wait(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    await in_touch(contact, clock, 30)
    contact.missed()
    await clock.advance(60)
    await in_touch(contact, clock, 1)
    contact.missed()
    await clock.advance(1)
    contact.seen()
    assert contact.settled(10) == 10


async def test_the_wall_clock_does_not_matter(clock: FakeClock) -> None:
    contact = Contact(clock, gap=5)
    contact.seen()
    await clock.advance(4)
    clock.jump(-86400)
    contact.seen()
    assert contact.settled(10) == 6
