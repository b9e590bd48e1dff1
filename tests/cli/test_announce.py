"""argosy announce as a sidekick runs it, at the keys door of a real api."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.cli.stage import Stage
from tests.router.web import backend, until_async

KEY = "/services/web/hello/hello@1"


async def value(stage: Stage) -> str | None:
    reply = await stage.house.ask_keys("GET", f"/v2/keys{KEY}")
    return str(reply.json["node"]["value"]) if reply.status == 200 else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_registers_checks_and_removes_its_key_when_told_to_stop(stage: Stage, number: signal.Signals) -> None:
    async with backend("app") as app:
        process = await stage.start(
            "announce", KEY, app.address, "--check", f"http://{app.address}/", "--check-interval", "0.1",
            env={"ETCDCTL_ENDPOINT": f"http://{stage.house.address('keys')}"},
        )  # fmt: skip

        async def announced() -> bool:
            return await value(stage) == app.address

        async def gone() -> bool:
            return await value(stage) is None

        await until_async(announced, "the key stands")
        app.status = 500
        await until_async(gone, "the key is gone while the check fails")
        app.status = 200
        await until_async(announced, "the key is back")
        process.send_signal(number)
        _, said = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert await gone()
    assert said.decode().splitlines()[-1] == f"removed {KEY}: told to stop"


async def test_the_key_has_the_ttl_that_was_asked_for(stage: Stage) -> None:
    process = await stage.start("announce", KEY, "127.0.0.1:3000", "--ttl", "30", "--keys", stage.house.address("keys"))

    async def announced() -> bool:
        return await value(stage) == "127.0.0.1:3000"

    await until_async(announced, "the key stands")
    node = (await stage.house.ask_keys("GET", f"/v2/keys{KEY}")).json["node"]
    assert 25 <= node["ttl"] <= 30
    process.terminate()
    await process.communicate()
    assert process.returncode == 0
