"""How many requests fail while four instances are updated, and then restarted, one after the other, at 200 requests a second?

Four process machines (or full ones: `python -m bench.rolling full`), examples/hello on each with its announcer, and the entry in front.
The same two commands as a person would type: argosy update hello@.service, argosy restart --rolling 'hello@*'.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

from argosy.install import program
from argosy.lab.lab import Lab
from argosy.lab.load import Load
from argosy.lab.state import LabRecord
from argosy.reconcile import SystemClock

CLOCK = SystemClock()
RATE = 200
MACHINES = 4
HELLO = Path(__file__).parent.parent / "examples" / "hello"


async def argosy(folder: Path, lab: Lab, *words: str) -> float:
    """Runs the program in that folder; the seconds that it took."""
    begun = CLOCK.monotonic()
    environ = {**os.environ, "ARGOSY_LAB": lab.name}
    process = await asyncio.create_subprocess_exec(program(), *words, stdout=PIPE, stderr=STDOUT, cwd=folder, env=environ)
    said, _ = await process.communicate()
    if process.returncode:
        raise AssertionError(f"argosy {' '.join(words)}: {said.decode()}")
    return CLOCK.monotonic() - begun


async def install(folder: Path, lab: Lab, record: LabRecord, says: str) -> None:
    """The unit files, with the app where the machines have it."""
    app = HELLO / "hello.py" if record.kind == "process" else Path("/srv/hello/hello.py")
    text = (HELLO / "hello@.service").read_text().replace("/srv/hello/hello.py %i", f"{app} {says}")
    await asyncio.to_thread((folder / "hello@.service").write_text, text)
    await asyncio.to_thread((folder / "hello-announce@.service").write_text, (HELLO / "hello-announce@.service").read_text())
    for machine in record.machines if record.kind != "process" else ():
        await lab.exec(machine.name, ["install", "-D", str(HELLO / "hello.py"), "/srv/hello/hello.py"])


async def loaded(record: LabRecord, *commands: Any) -> tuple[Load, list[float]]:
    load = Load(f"http://{record.entry}/", "hello.example", RATE, CLOCK)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(2.0)
    took = [await command() for command in commands]
    await asyncio.sleep(2.0)
    load.stop()
    await running
    return load, took


async def measure(lab: Lab, folder: Path, *, light: bool) -> tuple[Load, list[float]]:
    record = await lab.up(MACHINES, light=light)
    try:
        await install(folder, lab, record, "%i")
        await argosy(folder, lab, "submit", "hello@.service", "hello-announce@.service")
        instances = [f"{unit}@{number}" for unit in ("hello", "hello-announce") for number in range(1, MACHINES + 1)]
        await argosy(folder, lab, "start", *instances)
        await asyncio.sleep(2.0)
        await install(folder, lab, record, "new-%i")
        return await loaded(
            record,
            lambda: argosy(folder, lab, "update", "hello@.service"),
            lambda: argosy(folder, lab, "restart", "--rolling", "hello@*"),
        )
    finally:
        await lab.down()


async def run(*, light: bool = True) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        load, took = await measure(Lab(f"bench-{os.getpid()}"), Path(folder), light=light)
    for answer in load.failed():
        print(f"failed: {answer.status} {answer.text[:100]!r} after {answer.took:.2f} s", file=sys.stderr)
    times = sorted(answer.took for answer in load.answers)
    return {
        "rolling update and restart of 4 at 200/s: failed requests": {"value": len(load.failed()), "unit": "requests", "reach": "0"},
        "  of requests": {"value": len(times), "unit": "requests", "reach": ""},
        "  99 of 100 answers within": {"value": times[len(times) * 99 // 100], "unit": "s", "reach": ""},
        "  longest answer": {"value": times[-1], "unit": "s", "reach": ""},
        "  update of 4 instances": {"value": took[0], "unit": "s", "reach": ""},
        "  rolling restart of 4 instances": {"value": took[1], "unit": "s", "reach": ""},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(light="full" not in sys.argv[1:])), indent=2))
