"""A process that uses a store in a file, for tests that kill it: `python -m tests.store.writer PATH ROLE`.

count      eight tasks that each raise a key of their own; prints "<task> <number>" once that number is acknowledged
lease TTL  writes /lease under a lease that nobody keeps alive; prints "ready"
echo       writes /pong/<name> for each /ping/<name>; prints "ready"
"""

from __future__ import annotations

import asyncio
import os
import sys

from argosy.reconcile import SystemClock
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def count(store: SqliteStore) -> None:
    async def one(task: int) -> None:
        record = await store.get(f"/count/{task}")
        number = int(record.value) if record else 0
        while True:
            number += 1
            await store.commit([], [Put(f"/count/{task}", b"%d" % number), Put(f"/ballast/{task}", os.urandom(3000))])
            say(f"{task} {number}")

    await asyncio.gather(*(one(task) for task in range(8)))


async def hold(store: SqliteStore, ttl: float) -> None:
    lease = await store.grant(ttl)
    await store.commit([], [Put("/lease", b"", lease)])
    say("ready")
    await asyncio.Event().wait()


async def echo(store: SqliteStore) -> None:
    start = (await store.list("/ping/")).revision
    say("ready")
    async for batches in store.watch("/ping/", start):
        for batch in batches:
            for event in batch.events:
                await store.commit([], [Put(event.key.replace("ping", "pong"), b"")])


async def main() -> None:
    path, role, *rest = sys.argv[1:]
    async with SqliteStore(path, SystemClock()) as store:
        if role == "count":
            await count(store)
        elif role == "lease":
            await hold(store, float(rest[0]))
        else:
            await echo(store)


if __name__ == "__main__":
    asyncio.run(main())
