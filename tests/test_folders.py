"""The folders of an agent are nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from argosy.errors import Unsuitable
from argosy.folders import default_dirs, lab_root, make_own
from tests.web.clients import STRANGER, need_other_users


def test_without_home_the_user_database_says_where_folders_are() -> None:
    """Not a name in /tmp that anybody may have taken before."""
    assert default_dirs({}, 1) == ("/usr/sbin/.local/state/argosy", "/usr/sbin/.local/state/argosy/run")
    assert lab_root({}, 1) == "/usr/sbin/.local/state/argosy-lab"
    assert default_dirs({"HOME": "/home/a"}, 1)[0] == "/home/a/.local/state/argosy"
    assert default_dirs({"HOME": "/home/a"}, 0) == ("/var/lib/argosy", "/run/argosy")


def test_a_folder_that_is_made_is_ours(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        make_own(folder, 0o700)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_all_may_write_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    folder.chmod(0o1777)
    make_own(folder, 0o700)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1775


@pytest.mark.parametrize("below", ["", "b", "b/c"])
def test_a_folder_that_somebody_else_has_made_is_refused_also_if_it_is_above_ours(tmp_path: Path, below: str) -> None:
    need_other_users()
    theirs = tmp_path / "a"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    with pytest.raises(Unsuitable, match=f"belongs to user {STRANGER}"):
        make_own(theirs / below, 0o700)
    link = tmp_path / "link"
    link.symlink_to(theirs)
    with pytest.raises(Unsuitable, match=f"belongs to user {STRANGER}"):
        make_own(link / below, 0o700)
