"""The short story: a small web application on whatever machines this host can run, an instance killed, a machine's power cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

from argosy.lab.load import Load
from examples.stage import CHECKOUT, CLOCK, RATE, Failed, answering, argosy, asked, curl, home, names, say

HERE = Path(__file__).parent
HOST = "hello.example"
UNITS = ("hello@1", "hello@2", "hello-announce@1", "hello-announce@2")


async def serving(count: int, patience: float = 60.0) -> None:
    """Waits until every router serves that many instances of hello."""
    deadline = CLOCK.monotonic() + patience
    while CLOCK.monotonic() < deadline:
        routers = await asked("routes")
        alive = len(await names())
        served = [sum(upstream["app"] == "hello" for upstream in router.get("upstreams", [])) for router in routers]
        if len(served) == alive and all(number == count for number in served):
            return
        await CLOCK.sleep(0.2)
    raise Failed(f"the routers do not serve {count} instances of hello after {patience:.0f} s: argosy routes shows what they do")


async def install_app(kind: str) -> Path:
    """Puts the application where the unit file expects it; returns the folder of unit files to start."""
    if kind == "nspawn":
        say("The application is a small Python program. Each machine gets it at /srv/hello, as a package or an image would bring it.")
        for machine in (await names()).values():
            await argosy(
                "lab", "exec", machine, "--", "install", "-D", "-m", "644", str(HERE / "hello" / "hello.py"), "/srv/hello/hello.py"
            )
        return HERE / "hello"
    say("Process machines share this host's files, so the unit files are used with the application's path in this checkout.")
    folder = CHECKOUT / ".venv" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    for source in (HERE / "hello").glob("*.service"):
        (folder / source.name).write_text(source.read_text().replace("/srv/hello/", f"{HERE / 'hello'}/"))
    return folder


async def kill_service(load: Load) -> None:
    machine, pid = await home("hello@1.service")
    say(f"Now instance 1 is killed (process {pid} on {machine}), while {RATE} requests a second go through the entry.")
    begun = CLOCK.monotonic()
    await argosy("lab", "exec", machine, "--", "kill", "-KILL", str(pid))
    killed = CLOCK.monotonic()
    took = await answering(load, killed, "instance 1")
    print(f"  Its machine started it again (Restart=always, RestartSec=1): it answered after {took:.1f} s.")
    print(f"  {len(load.failed(begun))} requests failed: the routers passed them on to instance 2.", flush=True)
    await serving(2)


async def kill_machine(load: Load) -> str:
    machine, _ = await home("hello@1.service")
    others = {unit: (await home(f"{unit}.service"))[0] for unit in UNITS}
    say(f"Now the power of {machine} is cut, under the same load. It ran {', '.join(u for u, m in others.items() if m == machine)}.")
    begun = CLOCK.monotonic()
    await argosy("lab", "kill", machine)
    spare = next(name for name in ("m1", "m2", "m3") if name != machine and name not in others.values())
    took = await answering(load, begun, f"instance 1 on {spare}") if (await kind_of_lab()) == "nspawn" else await moved(begun, machine)
    print(f"  After {took:.1f} s instance 1 answered from {spare}: the machine's lease (5 s) had ended and its units were placed anew.")
    await serving(2)
    await CLOCK.sleep(1.0)
    failed = load.failed(begun)
    print(f"  {len(failed)} of {sum(answer.due >= begun for answer in load.answers)} requests failed.", flush=True)
    await argosy("list-units")
    return machine


async def moved(begun: float, machine: str) -> float:
    """Process machines all have this host's name: the unit's place tells."""
    while CLOCK.monotonic() < begun + 60:
        try:
            if (await home("hello@1.service"))[0] != machine:
                return CLOCK.monotonic() - begun
        except (Failed, KeyError):
            pass
        await CLOCK.sleep(0.1)
    raise Failed(f"hello@1.service did not leave {machine}")


async def kind_of_lab() -> str:
    return str((await asked("lab", "ps"))["kind"])


async def story(light: bool) -> None:
    say("A cluster of three machines on this host:")
    await argosy("lab", "up", "--machines", "3", *(["--light"] if light else []))
    await argosy("list-machines", "--fields", "machine,ip,name,runtime,leader")
    entry = f"http://{(await asked('lab', 'ps'))['entry']}/"
    folder = await install_app(await kind_of_lab())
    say("Two unit files are submitted: the application, and its sidekick that announces it. Then two instances of each are started.")
    await argosy("submit", str(folder / "hello@.service"), str(folder / "hello-announce@.service"))
    await argosy("start", *UNITS)
    say("The instances went to different machines (Conflicts=), each sidekick to its instance (MachineOf=):")
    await argosy("list-units")
    await serving(2)
    say("Every machine's nginx routes to both; the entry in front spreads over the machines. Ask it:")
    await argosy("routes")
    await curl("-H", f"Host: {HOST}", entry, times=4)
    load = Load(entry, HOST, RATE, CLOCK)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        try:
            await CLOCK.sleep(2.0)
            await kill_service(load)
            machine = await kill_machine(load)
            say(f"{machine} gets its power back. Nothing that is healthy is moved.")
            before = len(load.failed())
            await argosy("lab", "start", machine)
            await serving(2)
            await argosy("list-units")
            print(f"  {len(load.failed()) - before} requests failed meanwhile.")
        finally:
            load.stop()
    print(f"\n  In all: {len(load.answers)} requests, {len(load.failed())} failed.")
    farewell(entry)


def farewell(entry: str) -> None:
    say("The cluster stays up. Look around (from this folder):")
    for command, what in (
        ("list-units", "where units are and what they do"),
        ("status hello@1", "one unit, as its machine sees it, with its log"),
        ("why hello@1", "why it is where it is"),
        ("journal -f hello-announce@1", "follow a log from wherever it is written"),
        ("start hello@3", "a third instance; the machine that is free takes it"),
        ("lab exec m1 -- ps ax", "run something on a machine"),
    ):
        print(f"  .venv/bin/argosy {command:<36} {what}")
    print(f"  {f'curl -H Host:{HOST} {entry}':<53} ask through the entry")
    print(f"  {'make demo-down':<53} remove every trace")
