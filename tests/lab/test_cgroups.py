"""Control groups of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.lab import cgroups

V1 = """\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/freezer rw,relatime shared:5 - cgroup cgroup rw,freezer
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
V2 = "24 22 0:22 / /sys/fs/cgroup rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mounts", "old", "new"),
    [
        ("22 1 254:0 / / rw - ext4 /dev/vda rw\n", [], None),
        (V1, ["cpu,cpuacct", "freezer", "systemd"], None),
        (V2, [], "/sys/fs/cgroup"),
        (V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), ["cpu,cpuacct", "freezer", "systemd"], "/sys/fs/cgroup/unified"),
    ],
    ids=["none", "version 1", "version 2", "both"],
)
def test_hierarchies_are_read_from_the_mounts(tmp_path: Path, mounts: str, old: list[str], new: str | None) -> None:
    (tmp_path / "mountinfo").write_text(mounts)
    found, unified = cgroups.hierarchies(str(tmp_path / "mountinfo"))
    assert [path.name for path in found] == old
    assert unified == (Path(new) if new else None)


def test_a_group_that_is_not_there_is_not_frozen() -> None:
    assert not cgroups.is_frozen("no-lab/m1")
