"""How many requests fail while four instances are updated, and then restarted, one after the other, at 200 requests a second?

Four process machines (or full ones: `python -m bench.rolling full`), examples/hello on each with its announcer, and the entry in front.
The same two commands as a person would type: argosy update hello@.service, argosy restart --rolling 'hello@*'. Then an update whose leader
is killed (SIGKILL to the agent of the leading machine) when the first instance is healthy. Then a single instance, restarted in place and
with its new copy first.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

from argosy.install import program
from argosy.lab.asker import Asker
from argosy.lab.lab import DRIVERS, Lab
from argosy.lab.leaders import engine_leader
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


async def kill_leader(lab: Lab, record: LabRecord) -> None:
    """SIGKILL to the agent whose engine leads."""
    async with Asker(record, "m1") as asker:
        leader = await engine_leader(asker)
    for process in await DRIVERS[record.kind]().processes(record, leader):
        if "argosy" in process.command and "agent" in process.command and "init.py" not in process.command:
            os.kill(process.pid, signal.SIGKILL)


async def update_without_leader(folder: Path, lab: Lab, record: LabRecord) -> float:
    """An update whose leader is killed when the first instance is healthy; the seconds that it took. It ends by itself."""
    begun = CLOCK.monotonic()
    environ = {**os.environ, "ARGOSY_LAB": lab.name}
    words = ("update", "hello@.service")
    process = await asyncio.create_subprocess_exec(program(), *words, stdout=PIPE, stderr=STDOUT, cwd=folder, env=environ)
    assert process.stdout is not None
    said = b""
    while b"healthy again" not in said:
        line = await process.stdout.readline()
        assert line, said
        said += line
    await kill_leader(lab, record)
    said += await process.stdout.read()
    if await process.wait():
        raise AssertionError(said.decode())
    return CLOCK.monotonic() - begun


async def loaded(record: LabRecord, *commands: Any) -> tuple[Load, list[float]]:
    load = Load(f"http://{record.entry}/", "hello.example", RATE, CLOCK)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(2.0)
    took = [await command() for command in commands]
    await asyncio.sleep(2.0)
    load.stop()
    await running
    return load, took


async def measure(lab: Lab, folder: Path, *, light: bool) -> dict[str, tuple[Load, list[float]]]:
    record = await lab.up(MACHINES, light=light)
    try:
        await install(folder, lab, record, "%i")
        await argosy(folder, lab, "submit", "hello@.service", "hello-announce@.service")
        instances = [f"{unit}@{number}" for unit in ("hello", "hello-announce") for number in range(1, MACHINES + 1)]
        await argosy(folder, lab, "start", *instances)
        await asyncio.sleep(2.0)
        await install(folder, lab, record, "new-%i")
        found = {}
        found["four"] = await loaded(
            record,
            lambda: argosy(folder, lab, "update", "hello@.service"),
            lambda: argosy(folder, lab, "restart", "--rolling", "hello@*"),
        )
        await install(folder, lab, record, "newer-%i")
        found["leader"] = await loaded(record, lambda: update_without_leader(folder, lab, record))
        await argosy(folder, lab, "unload", *[name for name in instances if not name.endswith("@1")])
        for order in ("in place", "start first"):
            words = ("restart", "--rolling", "hello@1", *(["--start-first"] if order == "start first" else []))
            found[order] = await loaded(record, lambda words=words: argosy(folder, lab, *words))
        return found
    finally:
        await lab.down()


async def run(*, light: bool = True) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        found = await measure(Lab(f"bench-{os.getpid()}"), Path(folder), light=light)
    for kind, (load, _) in found.items():
        for answer in load.failed()[:10]:
            print(f"{kind}: failed: {answer.status} {answer.text[:100]!r} after {answer.took:.2f} s", file=sys.stderr)
    (load, took), (killed, killed_took) = found["four"], found["leader"]
    times = sorted(answer.took for answer in load.answers)
    failed = {kind: {"value": len(each.failed()), "unit": "requests", "reach": ""} for kind, (each, _) in found.items()}
    return {
        "rolling update and restart of 4 at 200/s: failed requests": {**failed["four"], "reach": "0"},
        "  of requests": {"value": len(times), "unit": "requests", "reach": ""},
        "  99 of 100 answers within": {"value": times[len(times) * 99 // 100], "unit": "s", "reach": ""},
        "  longest answer": {"value": times[-1], "unit": "s", "reach": ""},
        "  update of 4 instances": {"value": took[0], "unit": "s", "reach": ""},
        "  rolling restart of 4 instances": {"value": took[1], "unit": "s", "reach": ""},
        "update of 4 whose leader is killed, at 200/s: failed requests": {**failed["leader"], "reach": "0"},
        "  of requests (leader killed)": {"value": len(killed.answers), "unit": "requests", "reach": ""},
        "  update of 4 instances (leader killed)": {"value": killed_took[0], "unit": "s", "reach": ""},
        "restart of a single instance in place, at 200/s: failed requests": failed["in place"],
        "restart of a single instance, new copy first, at 200/s: failed requests": {**failed["start first"], "reach": "0"},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(light="full" not in sys.argv[1:])), indent=2))
