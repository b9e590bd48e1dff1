"""The demo: python -m examples.demo [--hello] [--light] [--down]. Tells what it does in sentences and shows every command that it runs.

It plays the whole fleet starter with real containers (fleet_story) where this host can run full machines with Docker, and otherwise, or
with --hello, a shorter story on what it can run (hello_story); --light: on process machines.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time

from argosy.cli.main import VERBS
from argosy.errors import ArgosyError
from argosy.lab import dockerd, host
from argosy.lab.etc import has_docker
from examples import fleet_story, hello_story
from examples.stage import CHECKOUT, Failed, argosy, say


async def chosen() -> str:
    """Why the short story is told; "" if it is the whole one."""
    if "--light" in sys.argv or "--hello" in sys.argv:
        return "as asked for"
    if not {"registry", "router"} <= VERBS.keys():
        return "registry and router do not run by themselves yet"
    found = [*await host.obstacles(), *dockerd.obstacles(), *([] if has_docker() else ["the machines would have no Docker"])]
    return "; ".join(dict.fromkeys(found))


async def play() -> None:
    why = await chosen()
    if why:
        say(f"The short story, without containers: {why}.")
        await hello_story.story("--light" in sys.argv)
    else:
        await fleet_story.story()


async def down() -> None:
    await argosy("lab", "down")
    await fleet_story.clean()
    shutil.rmtree(CHECKOUT / ".venv" / "demo", ignore_errors=True)


def main() -> None:
    begun = time.monotonic()
    try:
        asyncio.run(down() if "--down" in sys.argv else play())
    except* (Failed, ArgosyError) as failures:
        for failure in failures.exceptions:
            print(f"\nThe demo failed: {failure}", file=sys.stderr)
        print("make demo-down removes every trace.", file=sys.stderr)
        sys.exit(1)
    if "--down" not in sys.argv:
        print(f"\n({time.monotonic() - begun:.0f} s)")


if __name__ == "__main__":
    main()
