"""The machine's own layer over the host's root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from argosy.lab import disk


def test_files_and_links_are_written_with_the_hosts_folder_modes_above_them(tmp_path: Path) -> None:
    layer = disk.Layer(tmp_path)
    layer.write({"etc/hostname": "m1\n", "/root/note": b"\xff"}, mode=0o640)
    layer.link({"usr/local/bin/argosy": "/opt/argosy"})
    layer.link({"usr/local/bin/argosy": "/opt/other"})
    assert (tmp_path / "etc/hostname").read_text() == "m1\n"
    assert stat.S_IMODE((tmp_path / "etc/hostname").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == stat.S_IMODE(os.stat("/root").st_mode)
    assert os.readlink(tmp_path / "usr/local/bin/argosy") == "/opt/other"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can cover the host's folders")
def test_folders_of_the_host_are_covered(tmp_path: Path) -> None:
    disk.Layer(tmp_path).hide(["etc/systemd/system", "var/lib/argosy"])
    assert os.getxattr(tmp_path / "etc/systemd/system", "trusted.overlay.opaque") == b"y"
    with pytest.raises(OSError, match="No data"):
        os.getxattr(tmp_path / "etc/systemd", "trusted.overlay.opaque")


def test_own_services_are_files_and_the_hosts_are_linked_to() -> None:
    files, links = disk.system_units(
        {"etcd.service": "[Service]\n"}, {"etcd.service": "multi-user.target", "docker.socket": "sockets.target"}
    )
    assert files == {"etc/systemd/system/etcd.service": "[Service]\n"}
    assert links["etc/systemd/system/multi-user.target.wants/etcd.service"] == "../etcd.service"
    assert links["etc/systemd/system/sockets.target.wants/docker.socket"] == "/lib/systemd/system/docker.socket"
    assert links["etc/systemd/system/getty.target"] == "/dev/null"


def test_what_a_machine_sees_anyway_is_not_bound_in() -> None:
    for path in disk.needed_from_host():
        assert path.stat().st_dev != os.stat("/").st_dev or any(path.is_relative_to(place) for place in disk.UNREACHED)
