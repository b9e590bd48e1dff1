"""A log that is followed: whole lines, each once, also over files that are put aside."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.router.tail import Tail


def test_what_was_there_before_is_old_and_lines_come_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    tail = Tail(path)
    with path.open("ab") as file:
        file.write(b"one\ntw")
        file.flush()
        assert tail.more() == b"one\n"
        file.write(b"o\n")
        file.flush()
        assert tail.more() == b"two\n"
        assert tail.more() == b""
    tail.close()


def test_a_file_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "log")
    assert tail.more() == b""
    (tmp_path / "log").write_bytes(b"first\n")
    assert tail.more() == b"first\n"
    tail.close()


STEPS = st.lists(st.one_of(st.integers(1, 3), st.sampled_from(["look", "aside"])), max_size=30)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_and_nothing_told_twice(tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]) -> None:
    """As nginx does it: a writer goes on in the file that was put aside until it is told to begin another."""
    folder = tmp_path_factory.mktemp("tail")
    path, number, said = folder / "log", 0, b""
    file = path.open("ab")
    tail = Tail(path)
    for step in steps:
        if step == "look":
            said += tail.more()
        elif step == "aside":
            path.replace(folder / "log.1")
            file.write(b"late\n")
            file.close()
            file = path.open("ab")
            said += tail.more() + tail.more()
        else:
            file.write(b"".join(f"{number + more}\n".encode() for more in range(int(step))))
            number += int(step)
        file.flush()
    for _ in range(3):
        said += tail.more()
    file.close()
    tail.close()
    assert [int(line) for line in said.split() if line != b"late"] == list(range(number))
    assert said.count(b"late") == steps.count("aside")
