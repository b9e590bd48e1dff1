"""A process that deletes a directory of keys, for a test that kills it: `python -m tests.api.deleter ENDPOINT PATH`.

Prints "ready", deletes on a line of input, and prints "done" when that is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys

from argosy.api.keys.shapes import Ask
from argosy.api.keys.space import Keyspace
from argosy.reconcile import SystemClock
from argosy.store.etcd import EtcdStore


async def main(endpoint: str, path: str) -> None:
    async with EtcdStore([endpoint], SystemClock()) as store, asyncio.TaskGroup() as group:
        space = Keyspace(store, SystemClock())
        group.create_task(space.run())
        await space.ready.wait()
        os.write(1, b"ready\n")
        await asyncio.to_thread(sys.stdin.readline)
        await space.write(Ask("DELETE", path, recursive=True))
        os.write(1, b"done\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
