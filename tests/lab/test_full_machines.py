"""What three full machines do when their engines break: etcd, nginx, the disk. Each scenario leaves the lab whole and empty."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from argosy.lab.asker import View, runs
from argosy.lab.lab import Lab
from tests.lab.cluster import Cluster, whole

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

SLEEPER = "[Service]\nExecStart=/bin/sleep 100000\n"
HELLO = Path(__file__).parent.parent.parent / "examples" / "hello"
ALL = ("m1", "m2", "m3")


@pytest_asyncio.fixture
async def cluster(full_lab: Lab) -> AsyncIterator[Cluster]:
    async with whole(full_lab) as standing:
        yield standing


async def do(cluster: Cluster, machine: str, *argv: str) -> str:
    found = await cluster.lab.exec(machine, argv)
    assert found.code == 0, f"{argv} on {machine}: {found.stdout}{found.stderr}"
    return found.stdout


async def answer(address: str, host: str, path: str = "/") -> tuple[int, str]:
    """(status, text); (0, why) for none."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}", headers={"Host": host}) as found:
            return found.status, await found.text()
    except (aiohttp.ClientError, OSError) as error:
        return 0, str(error)


async def until_answered(address: str, host: str, words: str, patience: float = 30.0) -> None:
    end = asyncio.get_running_loop().time() + patience
    found: tuple[int, str] = (0, "")
    while words not in found[1]:
        assert asyncio.get_running_loop().time() < end, f"{address} answers {found}, not {words!r}"
        found = await answer(address, host)
        await asyncio.sleep(0.05)


async def until_gone_from_routes(cluster: Cluster, app: str) -> None:
    end = asyncio.get_running_loop().time() + 30
    while any(up["app"] == app for router in (await cluster["m1"].ask("GET", "/routes"))["routers"] for up in router.get("upstreams", [])):
        assert asyncio.get_running_loop().time() < end, f"{app} is still routed"
        await asyncio.sleep(0.1)


async def start_hello(cluster: Cluster) -> None:
    for machine in ALL:
        await do(cluster, machine, "install", "-D", str(HELLO / "hello.py"), "/srv/hello/hello.py")
    names = []
    for template in ("hello@.service", "hello-announce@.service"):
        text = (HELLO / template).read_text()
        instances = [template.replace("@", f"@{number}") for number in (1, 2)]
        await cluster["m1"].wish(instances, "launched", text)
        names += instances
    await cluster["m1"].until_running(names)


async def test_a_unit_file_becomes_an_http_answer_on_every_machine_and_through_the_entry(cluster: Cluster) -> None:
    await start_hello(cluster)
    record = await cluster.lab.record()
    for address in (*(machine.router for machine in record.machines), record.entry):
        for instance in (1, 2):
            await until_answered(address, "hello.example", f"instance {instance}")
    status, text = await answer(record.entry, "unknown.example")
    assert status == 404
    assert "No app" in text
    await cluster["m1"].wish(["hello@1.service"], "loaded")
    await cluster["m1"].until(
        lambda units: all(state["active"] == "inactive" for state in units["hello-announce@1.service"]["states"]), "the sidekick stops too"
    )
    for instance in (1, 2):
        await cluster["m1"].ask("DELETE", f"/units/hello-announce@{instance}.service")
    await until_gone_from_routes(cluster, "hello")


async def test_a_killed_nginx_is_back_with_what_it_served(cluster: Cluster) -> None:
    await do(cluster, "m2", "sh", "-c", "ETCDCTL_API=2 etcdctl set /services/web/kept/1 127.0.0.1:9 >/dev/null")
    record = await cluster.lab.record()
    router = record.machine("m1").router
    await cluster.kill_program("m1", "nginx: master")
    await until_answered(router, "nothing.example", "No app")
    await do(cluster, "m2", "sh", "-c", "ETCDCTL_API=2 etcdctl rm /services/web/kept/1")
    await until_gone_from_routes(cluster, "kept")


async def test_a_hostile_key_is_refused_by_name_and_the_others_are_served(cluster: Cluster) -> None:
    await do(cluster, "m1", "sh", "-c", "ETCDCTL_API=2 etcdctl set '/services/web/evil/1' '127.0.0.1:80; } server { listen 81;' >/dev/null")
    await start_hello(cluster)
    record = await cluster.lab.record()
    await until_answered(record.machine("m3").router, "hello.example", "instance")
    routers = (await cluster["m2"].ask("GET", "/routes"))["routers"]
    assert all(any("evil/1" in refused["key"] for refused in router["refused"]) for router in routers)
    await do(cluster, "m1", "sh", "-c", "ETCDCTL_API=2 etcdctl rm '/services/web/evil/1'")


async def test_etcd_losing_its_leader_during_a_deploy_loses_no_unit(cluster: Cluster) -> None:
    names = [f"deployed@{number}.service" for number in range(40)]
    deploy = asyncio.create_task(told(cluster, names))
    for machine in ALL:  # one of them leads
        await do(cluster, machine, "systemctl", "kill", "-s", "KILL", "etcd.service")
        await asyncio.sleep(1.0)
    await deploy
    await until_all_run(cluster, names)


async def told(cluster: Cluster, names: list[str]) -> None:
    """Submits until the cluster has taken each: a client tries again when the store was away."""
    for start in range(0, len(names), 5):
        for _ in range(60):
            try:
                await cluster["m1"].wish(names[start : start + 5], "launched", SLEEPER)
                break
            except Exception:
                await asyncio.sleep(0.2)
        else:
            raise AssertionError("the store does not come back")


async def until_all_run(cluster: Cluster, names: list[str]) -> None:
    end = asyncio.get_running_loop().time() + 60
    while True:
        try:
            await cluster["m1"].until_running(names, patience=60)
            return
        except Exception:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.2)


async def test_all_of_etcd_away_for_thirty_seconds_stops_nothing_and_moves_nothing(cluster: Cluster) -> None:
    names = [f"steady@{number}.service" for number in range(6)]
    await cluster["m1"].wish(names, "launched", SLEEPER)
    await cluster["m1"].until_running(names)
    homes = {name: await cluster["m1"].home(name) for name in names}
    await asyncio.gather(*(do(cluster, machine, "systemctl", "stop", "etcd.service") for machine in ALL))
    await asyncio.sleep(30.0)
    for name, (machine, pid) in homes.items():
        assert await cluster.alive(machine, pid), name
    assert "503" in str(await failure(cluster))
    await asyncio.gather(*(do(cluster, machine, "systemctl", "start", "--no-block", "etcd.service") for machine in ALL))
    await told(cluster, ["after.service"])
    await until_all_run(cluster, ["after.service", *names])
    assert {name: await cluster["m1"].home(name) for name in names} == homes


async def failure(cluster: Cluster) -> object:
    try:
        return await cluster["m1"].ask("PUT", "/units/no.service", {"text": SLEEPER})
    except Exception as error:
        return error


async def test_a_full_disk_harms_nothing_that_runs_and_is_said(cluster: Cluster) -> None:
    await cluster["m1"].wish(["steady.service"], "launched", SLEEPER)
    await cluster["m1"].until_running(["steady.service"])
    machine, pid = await cluster["m1"].home("steady.service")
    mounted = (
        "mount -t tmpfs -o size=64k tmpfs /run/argosy/units && dd if=/dev/zero of=/run/argosy/units/fill bs=1k count=64 2>/dev/null; true"
    )
    await do(cluster, machine, "sh", "-c", mounted)
    try:
        text = SLEEPER + f"[X-Fleet]\nMachineID={(await cluster['m1'].machines())[machine]['id']}\n"
        await cluster["m1"].wish(["late.service"], "launched", text)

        def said(units: dict[str, View]) -> bool:
            return any("space" in state.get("note", "") for state in units["late.service"].get("states", []))

        await cluster["m1"].until(said, "the full disk is named")
        assert await cluster.alive(machine, pid)
    finally:
        await do(cluster, machine, "umount", "/run/argosy/units")
    await cluster["m1"].until(lambda units: runs(units["late.service"]), "it runs once there is room")
    assert await cluster.alive(machine, pid)


async def test_strangers_are_turned_away_at_a_machines_door_with_a_line_in_its_log(cluster: Cluster) -> None:
    record = await cluster.lab.record()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    refused = None
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{record.machine('m1').address}:8700/argosy/v1/version", ssl=context) as found,
        ):
            refused = found.status
    except aiohttp.ClientError:
        refused = 0
    assert refused == 0
    log = await do(cluster, "m1", "journalctl", "-u", "argosy", "--no-pager", "-n", "50")
    assert "certificate" in log


async def test_fleets_socket_answers_on_every_machine(cluster: Cluster) -> None:
    for machine in ALL:
        found = await do(
            cluster, machine, "curl", "-sS", "--unix-socket", "/var/run/fleet.sock", "http://domain-sock/fleet/v1/machines?alt=json"
        )
        assert found.count("primaryIP") == 3
