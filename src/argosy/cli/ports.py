"""Whether the addresses that an agent is to listen on can be had, told before it is started: which, who has them, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

import psutil

from argosy import proc
from argosy.config import Config
from argosy.errors import Unsuitable
from argosy.web.addresses import split_address
from argosy.web.listeners import why_taken


class Door(NamedTuple):
    """An address to listen on, what for, and the option of `argosy up` that sets it."""

    what: str
    option: str
    host: str
    port: int


def check(config: Config, *, router: bool) -> None:
    """Raises Unsuitable for the first address that cannot be listened on. What our own nginx of before holds is ours."""
    for door in doors(config, router=router):
        fault = why_taken(door.host, door.port)
        if fault is None:
            continue
        holder = _holder(door.port) if fault.errno == errno.EADDRINUSE else 0
        if not (holder and proc.works_in(holder, config.run_dir / "router")):
            raise _told(door, fault, holder)


def doors(config: Config, *, router: bool) -> Iterator[Door]:
    for address in config.api.listen:
        yield Door("the API", "--api", *split_address(address))
    for address in config.keys.listen:
        yield Door("the etcd v2 keys", "--keys", *split_address(address))
    for address in config.router.listen if router else ():
        yield Door("web traffic", "--router", *split_address(address))


def _holder(port: int) -> int:
    """The process that listens on a port; 0 where that is not to be seen."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return 0
    return next((one.pid or 0 for one in found if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr[1] == port), 0)


def _told(door: Door, fault: OSError, holder: int) -> Unsuitable:
    where = f"{door.host}:{door.port}"
    other = door.port + (1 if door.port > 1024 else 8000)
    elsewhere = f"argosy up {door.option} 127.0.0.1:{other}, or {door.option} none to do without"
    if fault.errno == errno.EADDRINUSE:
        who = f"{_name(holder)} (process {holder})" if holder else "another program"
        return Unsuitable(f"port {door.port} for {door.what} is in use: {who} listens on {where}", remedy=f"stop that, or {elsewhere}")
    if fault.errno == errno.EACCES:
        return Unsuitable(f"port {door.port} for {door.what} may only be used by root", remedy=elsewhere)
    return Unsuitable(f"cannot listen on {where} for {door.what}: {os.strerror(fault.errno or 0)}", remedy=elsewhere)


def _name(pid: int) -> str:
    found = proc.look(pid)
    return found.name if found is not None else "a program"
