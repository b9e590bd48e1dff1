"""The entry load balancer of a lab, a process of its own on the host: `python -m argosy.lab.entry FOLDER`.

It reads the lab's record before each check, so machines that are added are found by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from argosy.errors import ArgosyError
from argosy.lab.front import PLACE
from argosy.lab.state import load
from argosy.reconcile import SystemClock
from argosy.router.entry import Entry
from argosy.router.nginx import Nginx

log = logging.getLogger(__name__)


async def serve(folder: Path) -> None:
    """For ever."""
    first = load(folder.name, folder.parent)
    known = [(machine.name, machine.router) for machine in first.machines]

    def routers() -> list[tuple[str, str]]:
        nonlocal known
        try:
            known = [(machine.name, machine.router) for machine in load(folder.name, folder.parent).machines]
        except ArgosyError as error:
            log.warning("%s", error)
        return known

    place = folder / PLACE
    await Entry(routers, [first.entry], Nginx(place / "nginx"), SystemClock(), status=place / "status.json").run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.run(serve(Path(sys.argv[1])))
