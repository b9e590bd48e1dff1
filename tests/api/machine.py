"""A machine's doors as a process of its own, for tests that put it into a network of their own:

    python -m tests.api.machine FOLDER SECTION.FIELD=VALUE... [containers=PID,PID]

Says the keys door's port, one line a change of what its bridges have open, and what it logs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from tests.api.house import a_house

LISTS = ("keys.bridges", "keys.listen")


async def main(folder: str, *settings: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    flags: dict[str, Any] = {}
    containers: list[int] = []
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == "containers":
            containers = [int(pid) for pid in value.split(",")]
            continue
        flags[name.replace(".", "__")] = value.split(",") if name in LISTS else value
    async with a_house(Path(folder), containers=containers, **flags) as house:
        sys.stdout.write("port " + house.address("keys").rpartition(":")[2] + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
