"""The whole story: the fleet starter with real containers, on three full machines with a systemd and a Docker Engine each."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argosy.lab.lab import Lab
from argosy.lab.load import Load
from examples.operator_side import DOMAIN, INSIDE, STARTER, Operator, has_azurite, operator, provision, shared_folder
from examples.stage import CHECKOUT, CLOCK, LAB, RATE, Failed, answering, argosy, asked, busy, curl, home, homes, names, say, told, until

APP = "example-app"
HOST = f"{APP}.{DOMAIN}"
APPS = (f"{APP}@1", f"{APP}@2")
SIDEKICKS = (f"{APP}-discovery@1", f"{APP}-discovery@2")
CONFIGURATION = "/etc/nginx/conf.d/apps.conf"
HERE = STARTER.relative_to(CHECKOUT)


class Figures:
    """What was measured, for the end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.begun = CLOCK.monotonic()

    def add(self, what: str, value: str) -> None:
        self.rows.append((what, value))

    def lap(self, what: str) -> None:
        now = CLOCK.monotonic()
        self.add(what, f"{now - self.begun:.1f} s")
        self.begun = now

    def show(self) -> None:
        say("Figures:")
        for what, value in self.rows:
            told(f"{what:<66} {value}")


# --- what is looked at


async def upstream(machine: str) -> str:
    """The part of the router's configuration on a machine that names the app's instances."""
    said = await argosy("lab", "exec", machine, "--", "docker", "exec", "router", "cat", CONFIGURATION, quiet=True, check=False)
    found = re.search(rf"^ *upstream \S*{APP} {{[^}}]*}}", said, re.MULTILINE)
    return found[0] if found else ""


async def served(count: int) -> bool:
    """Whether every machine's router sends to that many instances."""
    return all([(await upstream(machine)).count("server ") == count for machine in (await names()).values()])


async def serving(count: int) -> None:
    async def holds() -> bool:
        return await served(count)

    await until(holds, f"every router sends to {count} instances: docker exec router cat {CONFIGURATION} shows to which it does")


async def show_upstream(machine: str) -> None:
    print(f"  $ argosy lab exec {machine} -- docker exec router cat {CONFIGURATION}", flush=True)
    for line in (await upstream(machine)).splitlines():
        print(f"    {line}")
    print("    …", flush=True)


# --- the chapters


async def machines(figures: Figures) -> Lab:
    lab = Lab(LAB)
    say("A cluster of three machines on this host, each with a systemd, a Docker Engine and a network of its own, and an etcd across them.")
    told("Here the router is a container like everything else, so the agents are told to leave ports 80 and 443 to it.")
    options = ["--machines", "3", "--set", "router.enabled=no"]
    if not has_azurite():
        folder = shared_folder(lab)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        options += ["--bind", f"{folder}:{INSIDE}"]
    await argosy("lab", "up", *options)
    figures.lap("three machines up")
    return lab


async def images(made: Operator, figures: Figures) -> None:
    say(f"The operator's side: {made.store.name} keeps the images. In front of it a registry of the operator's own, on {made.registry},")
    told("and a Docker Engine to build with. Nothing comes from an image registry: the base is unpacked from Debian packages.")
    print(f"  $ {HERE}/build --push --to {made.registry} --hub {made.hub}", flush=True)
    async for line in made.build():
        print(f"    {line}", flush=True)
    figures.lap("images built and pushed")


async def registries(made: Operator, figures: Figures) -> None:
    say("Machines are given what a cloud-config would bring: where images are kept, a certificate for the router, and a mirror for Docker.")
    for path in await provision(made):
        told(path)
    told(f"A lab has no way to the Docker Hub. {made.hub} stands in for it, with one image: the registry's own, as in the original.")
    say("The registry is a global unit: it brings an image registry to localhost:5000 of every machine, all on that one store.")
    await argosy("start", f"{HERE}/registry/registry.service")
    figures.lap("a registry on every machine")


async def routers(lab: Lab, figures: Figures) -> None:
    say("So every machine can pull what the operator has pushed, from its own localhost. The router is next, on ports 80 and 443 of each:")
    await argosy("start", f"{HERE}/router/router.service")
    await argosy("list-units")
    record = await lab.record()
    address = record.machine("m2").address
    ca = f"{record.folder}/ca.pem"
    say("It speaks TLS with a certificate from the cluster's own authority. There is no app yet, and it says so:")
    output = "%{http_version} %{response_code}, certificate verified: %{ssl_verify_result}\\n"
    await curl(
        "--cacert", ca, "--resolve", f"{HOST}:443:{address}", "--output", "/dev/null", "--write-out", output, f"https://{HOST}/",
        label=f"--cacert ca.pem --resolve {HOST}:443:{address} https://{HOST}/",
    )  # fmt: skip
    figures.lap("a router on every machine")


async def apps(entry: str, figures: Figures) -> None:
    say("Now the app. Its unit is a template that conflicts with itself, so no two instances share a machine:")
    await argosy("submit", f"{HERE}/{APP}/{APP}@.service", f"{HERE}/{APP}/{APP}-discovery@.service")
    await argosy("start", *APPS)
    say("Three machines have room for three. A fourth instance waits, and says why:")
    await argosy("start", f"{APP}@3")
    await argosy("start", "--block-attempts", "2", f"{APP}@4", check=False)
    await argosy("why", f"{APP}@4")
    await argosy("destroy", f"{APP}@3", f"{APP}@4")
    say("Nobody knows of them yet. The sidekicks announce them, each on its instance's machine (MachineOf=), while it runs (BindsTo=):")
    await argosy("start", *SIDEKICKS)
    await serving(2)
    await show_upstream("m1")
    say("The entry picks a machine, that machine's router an instance:")
    await curl("-H", f"Host: {HOST}", entry, times=4)
    figures.lap("the app, announced and answering")


async def stop_one(entry: str, figures: Figures) -> None:
    say("One instance is stopped. Its sidekick stops with it (first, so that no request is lost), and the routers let go of it:")
    await argosy("stop", APPS[0])
    await serving(1)
    await argosy("list-units")
    await show_upstream("m1")
    await curl("-H", f"Host: {HOST}", entry, times=2)
    await argosy("start", APPS[0])
    await serving(2)
    figures.lap("one instance stopped, seen gone, and started again")


async def roll_out(made: Operator, load: Load, figures: Figures) -> None:
    say("A new version is built and pushed to the operator's registry; machines pull it from theirs.")
    print(f"  $ {HERE}/build --push --to {made.registry} --version 2 {APP}", flush=True)
    async for line in made.build("--version", "2", APP):
        print(f"    {line}", flush=True)
    say(f"It goes live one instance after the other, under {RATE} requests a second:")
    begun = CLOCK.monotonic()
    await argosy("restart", "--rolling", *APPS)
    took = CLOCK.monotonic() - begun
    await answering(load, begun, "version 2")
    await CLOCK.sleep(1.0)
    failed = len(load.failed(begun))
    told(f"Both instances are version 2 after {took:.1f} s; {failed} of {count(load, begun)} requests failed.")
    figures.add(f"rolling update of two instances at {RATE} requests/s", f"{took:.1f} s, {failed} failed requests")


async def cut_power(load: Load, figures: Figures) -> str:
    machine, _ = await home(f"{APPS[0]}.service")
    there = [unit for unit, (where, _) in (await homes()).items() if where == machine]
    say(f"Now the power of {machine} is cut, under the same load. It ran {', '.join(there)}, a registry and a router.")
    other, _ = await home(f"{APPS[1]}.service")
    spare = next(name for name in ("m1", "m2", "m3") if name not in (machine, other))
    begun = CLOCK.monotonic()
    await argosy("lab", "kill", machine)
    took = await answering(load, begun, f"instance 1 on {spare}")
    told(f"After {took:.1f} s instance 1 answered from {spare}: the machine's lease (5 s) had ended and its units were placed anew.")
    await serving(2)
    await CLOCK.sleep(1.0)
    failed = len(load.failed(begun))
    told(f"{failed} of {count(load, begun)} requests failed.")
    await argosy("list-units")
    figures.add("power cut until a container on another machine answers (lease: 5 s)", f"{took:.1f} s, {failed} failed requests")
    return machine


async def power_back(machine: str, load: Load, figures: Figures) -> None:
    say(f"{machine} gets its power back, and its registry and router with it. Nothing that is healthy is moved.")
    begun = CLOCK.monotonic()
    await argosy("lab", "start", machine)

    async def whole() -> bool:
        units = {unit["name"]: unit.get("states", []) for unit in await asked("list-units")}
        everywhere = ("registry.service", "router.service")
        return all(sum(state["active"] == "active" for state in units[unit]) == 3 for unit in everywhere) and await served(2)

    async with busy("its containers start"):
        await until(whole, f"{machine} runs a registry and a router again")
    await argosy("list-units")
    told(f"{len(load.failed(begun))} requests failed meanwhile.")
    figures.add("power back until registry and router are there again", f"{CLOCK.monotonic() - begun:.1f} s")


def count(load: Load, since: float) -> int:
    return sum(answer.due >= since for answer in load.answers)


# --- the story


async def story() -> None:
    figures = Figures()
    begun = time.monotonic()
    lab = await machines(figures)
    entry = f"http://{(await asked('lab', 'ps'))['entry']}/"
    async with operator(lab) as made:
        await images(made, figures)
        await registries(made, figures)
        await routers(lab, figures)
        await apps(entry, figures)
        await stop_one(entry, figures)
        async with loaded(entry) as load:
            await roll_out(made, load, figures)
            machine = await cut_power(load, figures)
            await power_back(machine, load, figures)
        figures.add("requests in all", f"{len(load.answers)}, {len(load.failed())} failed")
    figures.add("the whole story", f"{time.monotonic() - begun:.0f} s")
    figures.show()
    farewell(entry)


@asynccontextmanager
async def loaded(entry: str) -> AsyncIterator[Load]:
    """A steady load for as long as the block lasts."""
    load = Load(entry, HOST, RATE, CLOCK)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        try:
            await CLOCK.sleep(2.0)
            if not any(answer.good for answer in load.answers):
                raise Failed(f"{HOST} does not answer at {entry}: {load.answers[-1].text if load.answers else 'nothing at all'}")
            yield load
        finally:
            load.stop()


def farewell(entry: str) -> None:
    say("The cluster stays up. Look around (from this folder):")
    for command, what in (
        ("list-units", "where units are and what they do"),
        ("status example-app@1", "one unit, as its machine sees it, with its log"),
        ("why example-app@1", "why it is where it is"),
        ("journal -f example-app-discovery@1", "follow a log from wherever it is written"),
        ("start example-app@3 example-app-discovery@3", "a third instance; the machine that is free takes it"),
        ("lab exec m1 -- docker ps", "run something on a machine"),
    ):
        print(f"  .venv/bin/argosy {command:<46} {what}")
    print(f"  {f'curl -H Host:{HOST} {entry}':<63} ask through the entry")
    print(f"  {f'{HERE}/README.md':<63} the same by hand")
    print(f"  {'make demo-down':<63} remove every trace")


async def clean() -> None:
    """What the story leaves beside the lab."""
    await asyncio.to_thread(shutil.rmtree, shared_folder(Lab(LAB)), ignore_errors=True)
