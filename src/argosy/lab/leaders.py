"""Who leads etcd and the engine in a lab, and how to make a machine lead either, both or neither before its power is cut."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from argosy.errors import ArgosyError, RuntimeFailed
from argosy.lab.asker import Asker
from argosy.lab.lab import Lab
from argosy.lab.members import CLIENT_PORT, TLS
from argosy.reconcile import SystemClock

CLOCK = SystemClock()
PATIENCE = 60.0
LOOK_AGAIN = 0.3
ROLES = ("neither", "etcd", "engine", "both")
"""What the lost machine led."""


async def etcdctl(lab: Lab, endpoints: list[str], *words: str) -> Any:
    """Run etcdctl in a machine that is on. Return what it prints, decoded if it is JSON. Raises RuntimeFailed."""
    tls = (f"--cacert={TLS}/ca.pem", f"--cert={TLS}/machine.pem", f"--key={TLS}/machine.key", "--insecure-skip-tls-verify")
    command = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={','.join(endpoints)}", *tls, *words, "-w", "json"]
    asked = next(machine.name for machine in (await lab.record()).machines if not machine.off)
    found = await lab.exec(asked, command)
    if found.code:
        raise RuntimeFailed(f"etcdctl {' '.join(words)}: {found.stderr.strip()}")
    return json.loads(found.stdout) if found.stdout.lstrip().startswith(("{", "[")) else found.stdout


async def etcd_leader(lab: Lab) -> tuple[str, Mapping[str, str], Mapping[str, int]]:
    """Return the machine that leads etcd ("" for none), and the members' endpoints and ids by machine."""
    record = await lab.record()
    ends = {machine.name: f"https://{machine.address}:{CLIENT_PORT}" for machine in record.machines if machine.name in record.members}
    if not ends:
        return "", {}, {}
    names = {end: name for name, end in ends.items()}
    statuses = await etcdctl(lab, list(ends.values()), "endpoint", "status")
    ids = {names[status["Endpoint"]]: status["Status"]["header"]["member_id"] for status in statuses}
    leaders = {status["Status"].get("leader", 0) for status in statuses}
    leader = next((name for name, number in ids.items() if leaders == {number}), "")
    return leader, ends, ids


async def engine_leader(asker: Asker) -> str:
    """Return the machine whose engine leads, "" for none."""
    return next((name for name, machine in (await asker.machines()).items() if machine.get("leader")), "")


async def arrange(lab: Lab, asker: Asker, victim: str, role: str) -> None:
    """Make `victim` lead what `role` says and nothing else. Engines are moved by restarting the agent that leads. Raises RuntimeFailed."""
    wants_etcd, wants_engine = role in ("etcd", "both"), role in ("engine", "both")
    others = [machine.name for machine in (await lab.record()).machines if machine.name != victim]

    async def engine_placed() -> bool:
        leader = await engine_leader(asker)
        if leader and (leader == victim) != wants_engine:
            await lab.exec(leader, ["systemctl", "restart", "argosy.service"])
        return bool(leader) and (leader == victim) == wants_engine

    async def etcd_placed() -> bool:
        leader, ends, ids = await etcd_leader(lab)
        if not ends:
            return True
        if leader and (leader == victim) != wants_etcd:
            to = victim if wants_etcd else next(name for name in others if name in ids)
            await etcdctl(lab, [ends[leader]], "move-leader", f"{ids[to]:x}")
        return bool(leader) and (leader == victim) == wants_etcd

    await until(engine_placed, f"{victim} leading the engine: {wants_engine}")
    await lab.wait_ready()
    await until(etcd_placed, f"{victim} leading etcd: {wants_etcd}")


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until `holds`. Raises RuntimeFailed after PATIENCE seconds."""
    end = CLOCK.monotonic() + PATIENCE
    while True:
        try:
            if await holds():
                return
        except (ArgosyError, aiohttp.ClientError) as error:
            what = f"{what}: {error}"
        if CLOCK.monotonic() > end:
            raise RuntimeFailed(f"not within {PATIENCE:.0f} s: {what}")
        await CLOCK.sleep(LOOK_AGAIN)
