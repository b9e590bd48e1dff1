"""Objects in a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.errors import StoreUnavailable
from argosy.images.faults import StorageFull
from argosy.images.folder import Folder, explained
from argosy.images.storage import Storage
from tests.contracts.storage_contract import StorageContract


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    made = Folder(tmp_path / "images")
    await made.open()
    yield made
    await made.close()


class TestFolder(StorageContract):
    @pytest.fixture
    def storage(self, folder: Folder) -> Storage:
        return folder

    @pytest.fixture
    async def other(self, folder: Folder, tmp_path: Path) -> AsyncIterator[Storage]:
        made = Folder(tmp_path / "images")
        yield made
        await made.close()


async def test_an_object_is_a_plain_file_named_by_its_key(folder: Folder, tmp_path: Path) -> None:
    await folder.put("repositories/a/_tags/1", b"x")
    assert (tmp_path / "images/repositories/a/_tags/1").read_bytes() == b"x"
    assert folder.path("repositories/a/_tags/1") == tmp_path / "images/repositories/a/_tags/1"


async def test_what_is_being_written_lies_beside_the_objects_and_is_not_seen(folder: Folder, tmp_path: Path) -> None:
    writer = folder.writer("parts/a/1")
    await writer.write([b"x"])
    assert len(os.listdir(tmp_path / "images/.incoming")) == 1
    assert not (tmp_path / "images/parts").exists()
    await writer.close()
    assert os.listdir(tmp_path / "images/.incoming") == []


async def test_what_others_left_hidden_in_the_folder_is_no_object(folder: Folder, tmp_path: Path) -> None:
    await folder.put("parts/a/1", b"x")
    for name in (".nfs0001", ".DS_Store", ".fuse_hidden1"):
        (tmp_path / "images/parts/a" / name).write_bytes(b"")
    assert [entry.key for entry in await folder.entries("parts/")] == ["parts/a/1"]


async def test_nothing_is_left_of_what_was_refused_or_aborted(folder: Folder, tmp_path: Path) -> None:
    await folder.create("a/b", b"x")
    assert not await folder.create("a/b", b"y")
    writer = folder.writer("a/c")
    await writer.write([b"x"])
    await writer.abort()
    assert os.listdir(tmp_path / "images/.incoming") == []


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd", "a/./b", ".incoming/x", "parts/.hidden"])
async def test_no_key_reaches_beside_the_folder(folder: Folder, key: str) -> None:
    with pytest.raises(ValueError, match="no key of the layout"):
        await folder.put(key, b"x")
    with pytest.raises(ValueError, match="no key of the layout"):
        await folder.get([key])
    with pytest.raises(ValueError, match="no key of the layout"):
        folder.writer(key)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EACCES, StoreUnavailable),
    ],
)
def test_what_the_system_says_is_told_with_a_remedy(number: int, kind: type[Exception]) -> None:
    told = explained(OSError(number, os.strerror(number)), "/srv/images")
    assert type(told) is kind
    assert "image store" in str(told)
    assert "/srv/images" in str(told)


async def test_a_folder_that_cannot_be_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        await Folder(tmp_path / "file" / "images").open()


async def test_a_file_that_is_shorter_than_it_should_be_is_not_taken_for_the_whole(folder: Folder) -> None:
    await folder.put("parts/a/1", b"short")
    with pytest.raises(StoreUnavailable, match="shorter than its record"):
        async for _ in folder.read("parts/a/1", 0, 100):
            pass
