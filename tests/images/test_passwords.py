"""htpasswd files: read, remembered, changed, and slow for those who guess."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import bcrypt
import pytest

from argosy.errors import InvalidInput
from argosy.images import passwords
from argosy.images.passwords import Busy, Passwords, parse_htpasswd
from tests.conftest import FakeClock, settle


def line(user: str, password: str) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text("# people\n" + line("alice", "secret") + line("bob", "hunter2").replace("$2b$", "$2y$"))
    return path


@pytest.fixture
def users(file: Path, clock: FakeClock) -> Passwords:
    return Passwords(file, clock)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice", "line 1 names no user"),
        ("alice:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "line 1: alice's hash is not bcrypt"),
        ("alice:$apr1$abc$def", "is not bcrypt"),
        ("\n\n:$2y$05$x", "line 3 names no user"),
        ("# nobody", "names no user"),
        ("a/../b:x", "line 1 names no user"),
    ],
)
def test_a_broken_file_is_refused_by_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_htpasswd(text, "htpasswd")
    assert said in caught.value.message


def test_hashes_are_not_told_in_errors() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_htpasswd("alice:plaintext-password", "htpasswd")
    assert "plaintext-password" not in str(caught.value)


async def test_the_right_password_is_right_and_any_other_is_not(users: Passwords, clock: FakeClock) -> None:
    check = users.check
    assert await check("alice", "secret", "a")
    assert await check("bob", "hunter2", "a")  # as htpasswd writes it: $2y$
    assert not await check("alice", "hunter2", "b")
    assert not await check("carol", "secret", "c")
    assert not await check("alice", "sec\0ret", "d")
    assert not await check("alice", "", "e")


async def test_a_password_that_was_right_is_remembered_and_one_check_serves_many(users: Passwords, clock: FakeClock) -> None:
    assert all(await asyncio.gather(*(users.check("alice", "secret", "a") for _ in range(50))))
    mark = users._mark("alice", b"secret", users._users["alice"])
    assert users._remembered(mark)
    await clock.advance(passwords.REMEMBERED_SECONDS + 1)
    assert not users._remembered(mark)


async def test_a_changed_file_counts_at_once_also_for_what_was_remembered(file: Path, users: Passwords, clock: FakeClock) -> None:
    assert await users.check("alice", "secret", "a")
    file.write_text(line("alice", "changed"))
    os.utime(file, ns=(1, 1))
    await clock.advance(passwords.LOOK_SECONDS)
    assert not await users.check("alice", "secret", "a")
    assert await users.check("alice", "changed", "a")
    assert not await users.check("bob", "hunter2", "a")


@pytest.mark.parametrize("broken", ["nonsense", None])
async def test_a_file_that_is_broken_or_gone_leaves_the_one_before_in_force(
    file: Path, users: Passwords, clock: FakeClock, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file.unlink() if broken is None else file.write_text(broken)
    await clock.advance(passwords.LOOK_SECONDS)
    assert await users.check("alice", "secret", "a")
    assert "who could log in before still can" in caplog.text


async def test_who_guesses_waits_longer_each_time_and_others_do_not(users: Passwords, clock: FakeClock) -> None:
    waits = []
    for number in range(8):
        began = clock.monotonic()
        guess = asyncio.create_task(users.check("alice", f"guess {number}", "203.0.113.9"))
        while not guess.done():
            await asyncio.wait([guess], timeout=0.05)
            if not guess.done():
                await clock.advance(0.25)
        assert not guess.result()
        waits.append(clock.monotonic() - began)
    assert waits[: passwords.FREE_FAILURES] == [0, 0, 0]
    assert waits[3:] == sorted(waits[3:])
    assert waits[-1] >= 4
    assert await users.check("alice", "secret", "203.0.113.10")


async def test_many_guesses_at_once_are_looked_at_one_after_another_and_then_turned_away(users: Passwords, clock: FakeClock) -> None:
    for _ in range(passwords.FREE_FAILURES + 6):
        users._offend("203.0.113.9")
    guesses = [asyncio.create_task(users.check("alice", str(number), "203.0.113.9")) for number in range(20)]
    await settle()
    turned_away = [guess for guess in guesses if guess.done()]
    assert len(turned_away) >= 10
    assert all(isinstance(guess.exception(), Busy) for guess in turned_away)
    for guess in guesses:
        guess.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)
