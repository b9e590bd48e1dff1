"""What a host can be to a lab, told in sentences."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import pytest

from argosy.lab.base import Command, run
from tests.lab.conftest import need_full_machines

CHECK = "import asyncio; from argosy.lab import host; print(*asyncio.run(host.obstacles()), sep='\\n')"
HIDE_GROUPS = 'umount -R /sys/fs/cgroup && exec "$@"'

HOSTS: Sequence[tuple[str, tuple[str, ...], str]] = [
    (
        "somebody who is not root",
        ("setpriv", "--reuid=65534", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
        "not root",
    ),
    ("a container that may mount nothing", ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"), "no overlay of the root"),
    ("one that may make no links", ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"), "no network namespace"),
    ("one without control groups", ("unshare", "--mount", "sh", "-c", HIDE_GROUPS, "sh"), "no control groups that systemd could use"),
]


@pytest.mark.parametrize(("sentence", "without", "expected"), HOSTS, ids=[row[0] for row in HOSTS])
async def test_what_is_in_the_way_is_named(sentence: str, without: tuple[str, ...], expected: str) -> None:
    await asyncio.to_thread(need_full_machines)  # rights that are not there cannot be taken away
    done = await run(Command((*without, sys.executable, "-c", CHECK), dict(os.environ)), timeout=30)
    assert any(line.startswith(expected) for line in done.stdout.splitlines()), done


async def test_missing_programs_are_named_with_their_packages(tmp_path: str) -> None:
    done = await run(Command((sys.executable, "-c", CHECK), {"PATH": str(tmp_path)}), timeout=30)
    if os.getuid() == 0:
        assert done.stdout.startswith("missing programs: systemd-nspawn (Debian: systemd-container), etcd (Debian: etcd-server), ip")
    else:
        assert done.stdout == "not root\n"


async def test_nothing_is_left_of_the_check() -> None:
    links = set(await asyncio.to_thread(os.listdir, "/sys/class/net"))
    await run(Command((sys.executable, "-c", CHECK), dict(os.environ)), timeout=30)
    assert {link for link in await asyncio.to_thread(os.listdir, "/sys/class/net") if link.startswith("argosy-")} <= links
