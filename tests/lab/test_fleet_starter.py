"""The seeds' own unit files, as they are written there, with real containers on three full machines; and by the real fleetctl where
FLEETCTL names one.

What the README tells its reader to replace is replaced (`seed_units.PLACEHOLDERS`). One line is left out: registry.service logs in at the
Docker Hub with an option that Docker has not had since 17.06; a test of its own shows what becomes of it as it is written.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from examples.operator_side import ARGOSY, Operator, has_azurite, operator, provision, shared_folder

from argosy.lab.asker import View
from argosy.lab.lab import Lab
from tests.lab import seed_units
from tests.lab.cluster import Cluster, whole
from tests.lab.conftest import TTL, need_containers, new_name
from tests.lab.seed_units import APP, DISCOVERY, REGISTRY, ROUTER

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

TOOLS = [ARGOSY, *(program for program in os.environ.get("FLEETCTL", "").split(":") if program)]
ALL = ("m1", "m2", "m3")
HOST = "example-app.captainkaption.com"
CONFIGURATION = "/etc/nginx/conf.d/apps.conf"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> AsyncIterator[Operator]:
    """A lab without routers of its own, images on the blob store, the seed's registry image where machines find it."""
    await asyncio.to_thread(need_containers)
    lab = Lab(new_name())
    folder = shared_folder(lab)
    try:
        if not has_azurite():
            folder.mkdir(parents=True)
        binds = [] if has_azurite() else [f"{folder}:/srv/images"]
        await lab.up(3, ttl=TTL, settings={"router.enabled": "no"}, binds=binds)
        async with operator(lab) as made:
            said = [line async for line in made.build()]
            await provision(made)
            await push_seed_registry(made)
            assert "pushed" in " ".join(said)
            yield made
    finally:
        await lab.down()
        if folder.exists():
            folder.rmdir()


async def push_seed_registry(made: Operator) -> None:
    """sedouard/registry, "built with our Azure storage credentials" as the README says."""
    settings = {"ARGOSY_IMAGES_STORAGE": made.store.inside, **made.store.environ}
    text = "FROM starter/registry:latest\n" + "".join(f'ENV {name}="{value}"\n' for name, value in settings.items())
    await made.docker("tag", f"{made.hub}/starter/registry:latest", "starter/registry:latest")
    await made.docker("build", "--quiet", "--tag", f"{made.hub}/sedouard/registry:latest", "-", stdin=text)
    await made.docker("push", f"{made.hub}/sedouard/registry:latest")


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(made: Operator) -> AsyncIterator[Cluster]:
    async with whole(made.lab) as standing:
        yield standing
    for machine in ALL:  # the seeds' units leave their containers behind
        await made.lab.exec(machine, ["sh", "-c", "docker rm --force $(docker ps --all --quiet) || true"])


async def do(cluster: Cluster, machine: str, *argv: str) -> str:
    found = await cluster.lab.exec(machine, argv)
    assert found.code == 0, f"{argv} on {machine}: {found.stdout}{found.stderr}"
    return found.stdout


async def tell(cluster: Cluster, tool: str, folder: Path, *words: str) -> str:
    """A command line of the README, run in the folder of the unit files: by argosy as it is there, or by fleetctl."""
    socket = cluster.record.socket("m1")
    environ = {**os.environ, "FLEETCTL_ENDPOINT": f"unix://{socket}"}
    process = await asyncio.create_subprocess_exec(
        tool,
        *words,
        cwd=folder,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, f"{' '.join(words)}: {output.decode()}"
    return output.decode()


async def until(cluster: Cluster, machine: str, argv: tuple[str, ...], holds: Callable[[str], bool], patience: float = 60.0) -> str:
    """What a command on a machine says, once it is as wanted."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        found = await cluster.lab.exec(machine, argv)
        if holds(found.stdout):
            return found.stdout
        assert asyncio.get_running_loop().time() < end, f"{argv} on {machine} still says {found.stdout}{found.stderr}"
        await asyncio.sleep(0.2)


def servers(configuration: str) -> list[str]:
    """The addresses in the app's upstream."""
    found = re.search(r"^ *upstream \S*example-app {([^}]*)}", configuration, re.MULTILINE)
    return re.findall(r"server (\S+)", found[1]) if found else []


async def upstream(cluster: Cluster, machine: str, count: int) -> list[str]:
    """The same of the router on a machine, once there are so many."""
    return servers(
        await until(cluster, machine, ("docker", "exec", "router", "cat", CONFIGURATION), lambda said: len(servers(said)) == count)
    )


def written(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    return folder


async def test_the_login_that_docker_no_longer_has_fails_in_dockers_own_words(cluster: Cluster) -> None:
    if not seed_units.there():
        pytest.skip("the seeds are not beside this checkout")
    text = seed_units.with_credentials(seed_units.unit_texts()[REGISTRY])
    await cluster["m1"].wish([REGISTRY], "launched", text)
    await cluster["m1"].until(
        lambda units: sum(bool(state.get("failures")) for state in units[REGISTRY].get("states", [])) == 3, "it fails on every machine"
    )
    assert "unknown shorthand flag: 'e' in -e" in await do(cluster, "m1", "journalctl", "--unit", REGISTRY, "--no-pager", "--output", "cat")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: Path(tool).name)
async def test_the_seeds_units_run_as_they_are_written(cluster: Cluster, tool: str, tmp_path: Path) -> None:
    texts = seed_units.unit_texts()
    texts[REGISTRY] = seed_units.without_login(seed_units.with_credentials(texts[REGISTRY]))
    folder = written(tmp_path, texts)
    await registry_and_router(cluster, tool, folder)
    await two_instances(cluster, tool, folder)
    await one_is_stopped(cluster, tool, folder)


async def registry_and_router(cluster: Cluster, tool: str, folder: Path) -> None:
    await tell(cluster, tool, folder, "start", REGISTRY)
    await cluster["m1"].until_running([REGISTRY])
    for machine in ALL:
        await until(cluster, machine, ("curl", "-s", "http://localhost:5000/v2/_catalog"), lambda said: "nginx_lb_router" in said)
    await tell(cluster, tool, folder, "start", ROUTER)
    await cluster["m1"].until_running([ROUTER], patience=90)
    for machine in ALL:
        await until(cluster, machine, ("curl", "-s", "http://localhost/"), lambda said: "No app" in said)


async def two_instances(cluster: Cluster, tool: str, folder: Path) -> None:
    await tell(cluster, tool, folder, "submit", APP)
    await tell(cluster, tool, folder, "start", "example-app@1", "example-app@2")
    await cluster["m1"].until_running(["example-app@1.service", "example-app@2.service"])
    homes = {(await cluster["m1"].home(f"example-app@{instance}.service"))[0] for instance in (1, 2)}
    assert len(homes) == 2
    await tell(cluster, tool, folder, "submit", DISCOVERY)
    await tell(cluster, tool, folder, "start", "example-app-discovery@1", "example-app-discovery@2")
    for machine in ALL:
        wanted = {f"{cluster.record.machine(home).address}:3000" for home in homes}
        assert set(await upstream(cluster, machine, 2)) == wanted
        answers = {await do(cluster, machine, "curl", "-s", "-H", f"Host: {HOST}", "http://localhost/") for _ in range(6)}
        assert len(answers) == 2, f"both instances answer in turn, not {answers}"
    listed = await tell(cluster, tool, folder, "list-units")
    assert len(re.findall(r"active\s+running", listed)) == 3 + 3 + 2 + 2, listed


async def one_is_stopped(cluster: Cluster, tool: str, folder: Path) -> None:
    home, _ = await cluster["m1"].home("example-app@1.service")
    await tell(cluster, tool, folder, "stop", "example-app@1")

    def both_stopped(units: dict[str, View]) -> bool:
        names = ("example-app@1.service", "example-app-discovery@1.service")
        return all(state["active"] in ("inactive", "failed") for name in names for state in units[name]["states"])

    await cluster["m1"].until(both_stopped, "the sidekick stops too")
    for machine in ALL:
        assert f"{cluster.record.machine(home).address}:3000" not in await upstream(cluster, machine, 1)
        assert "example-app" in await do(cluster, machine, "curl", "-s", "-H", f"Host: {HOST}", "http://localhost/")
    states = {state["machine"]: state for state in (await cluster["m1"].units())["example-app@2.service"]["states"]}
    assert [state["active"] for state in states.values()] == ["active"]
