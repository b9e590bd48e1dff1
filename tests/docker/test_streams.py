"""What an engine streams, cut into any pieces."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.docker.base import Json, Output
from argosy.docker.streams import Lines, frames
from argosy.errors import DockerUnavailable


class Cut:
    """Bytes in given pieces."""

    def __init__(self, data: bytes, cuts: Sequence[int]) -> None:
        places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
        self._pieces = [data[start:end] for start, end in itertools.pairwise(places)]

    async def read(self, n: int = -1, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


async def lines(pieces: Cut) -> list[Json]:
    return [line async for line in Lines(pieces)]


async def outputs(pieces: Cut, *, terminal: bool = False) -> list[Output]:
    return [output async for output in frames(pieces, terminal=terminal)]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=8)
OUTPUTS = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8)


@given(OBJECTS, CUTS, st.booleans())
def test_objects_come_whole_however_they_are_cut(objects: list[Json], cuts: list[int], ended: bool) -> None:
    data = b"\n".join(json.dumps(one).encode() for one in objects) + (b"\n" if ended else b"")
    assert asyncio.run(lines(Cut(data, cuts))) == objects


@given(OUTPUTS, CUTS)
def test_outputs_come_complete_however_they_are_cut(written: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(bytes([stream, 0, 0, 0]) + len(one).to_bytes(4, "big") + one for stream, one in written)
    found = asyncio.run(outputs(Cut(data, cuts)))
    for number, name in ((1, "stdout"), (2, "stderr")):
        assert b"".join(one.data for one in found if one.stream == name) == b"".join(one for stream, one in written if stream == number)


@pytest.mark.parametrize("data", [b"hello\n", b"[1]\n", b'{"a": \n', b'"x"\n'])
async def test_what_is_no_object_is_said(data: bytes) -> None:
    with pytest.raises(DockerUnavailable, match="no JSON object"):
        await lines(Cut(data, []))


async def test_a_frame_of_an_unknown_stream_is_said() -> None:
    with pytest.raises(DockerUnavailable, match="unknown stream 9"):
        await outputs(Cut(b"\x09\0\0\0\0\0\0\x01x", []))


async def test_a_wait_that_times_out_loses_nothing() -> None:
    gate = asyncio.Event()

    class Slow:
        first = True

        async def read(self, n: int = -1, /) -> bytes:
            if self.first:
                self.first = False
                return b'{"a": '
            await gate.wait()
            gate.clear()
            return b"1}\n"

    found = Lines(Slow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(found)
    gate.set()
    assert await anext(found) == {"a": 1}
