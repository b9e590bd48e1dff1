"""The Proxy contract (argosy.router.base) as a suite: every implementation passes it on a ground of its own."""

from __future__ import annotations

import asyncio
from typing import Protocol

import pytest

from argosy.errors import RuntimeFailed
from argosy.router.base import Proxy


class Ground(Protocol):
    """Where a proxy runs. `proxy` makes another object for the same place, as a restarted agent does."""

    def proxy(self) -> Proxy: ...

    def config(self, text: str) -> str:
        """A configuration that answers every request with `text`."""

    async def answer(self) -> str | None:
        """What a request is answered now, None when nothing runs."""

    async def kill(self) -> None:
        """Ends the proxy as SIGKILL does."""

    async def generation(self) -> object:
        """Something that changes whenever a configuration is taken up."""


BROKEN = "http {"


class ProxyContract:
    """Subclasses give the fixture `ground`."""

    async def test_nothing_runs_before_something_is_applied(self, ground: Ground) -> None:
        proxy = ground.proxy()
        assert not await proxy.adopt()
        assert proxy.active == ""
        assert not await proxy.revive()
        assert await ground.answer() is None

    async def test_what_was_applied_is_served_when_apply_returns_and_so_is_what_replaces_it(self, ground: Ground) -> None:
        proxy = ground.proxy()
        for text in ("one", "two", "three"):
            await proxy.apply(ground.config(text))
            assert proxy.active == ground.config(text)
            assert [await ground.answer() for _ in range(5)] == [text] * 5

    async def test_applying_what_is_active_does_nothing(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.apply(ground.config("one"))
        generation = await ground.generation()
        await proxy.apply(ground.config("one"))
        assert await ground.generation() == generation

    async def test_a_refused_configuration_leaves_the_one_before_in_service(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.apply(ground.config("good"))
        generation = await ground.generation()
        with pytest.raises(RuntimeFailed, match=r"refuse"):
            await proxy.apply(BROKEN)
        assert proxy.active == ground.config("good")
        assert await ground.generation() == generation
        assert await ground.answer() == "good"
        await proxy.apply(ground.config("better"))
        assert await ground.answer() == "better"

    async def test_a_first_configuration_that_is_refused_starts_nothing_and_a_good_one_after_it_is_served(self, ground: Ground) -> None:
        proxy = ground.proxy()
        with pytest.raises(RuntimeFailed):
            await proxy.apply(BROKEN)
        assert proxy.active == ""
        assert await ground.answer() is None
        await proxy.apply(ground.config("good"))
        assert await ground.answer() == "good"

    async def test_a_killed_proxy_is_noticed_and_revived_with_the_last_good_configuration(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.apply(ground.config("good"))
        with pytest.raises(RuntimeFailed):
            await proxy.apply(BROKEN)
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(proxy.wait_lost())
            await ground.kill()
            await waiting
        assert proxy.active == ""
        assert await proxy.revive()
        assert proxy.active == ground.config("good")
        assert await ground.answer() == "good"

    async def test_applying_the_same_configuration_after_a_kill_serves_it_again(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.apply(ground.config("good"))
        await ground.kill()
        async with asyncio.timeout(10):
            await proxy.wait_lost()
        await proxy.apply(ground.config("good"))
        assert await ground.answer() == "good"

    async def test_housekeeping_is_harmless_whether_it_runs_or_not(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.tend()
        await proxy.apply(ground.config("good"))
        generation = await ground.generation()
        for _ in range(3):
            await proxy.tend()
        assert await ground.generation() == generation
        assert await ground.answer() == "good"

    async def test_reviving_what_runs_does_nothing(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.apply(ground.config("good"))
        generation = await ground.generation()
        assert await proxy.revive()
        assert await ground.generation() == generation

    async def test_closing_leaves_it_running_and_another_agent_adopts_it_without_a_reload(self, ground: Ground) -> None:
        first = ground.proxy()
        await first.apply(ground.config("good"))
        generation = await ground.generation()
        await first.close()
        assert await ground.answer() == "good"
        second = ground.proxy()
        assert await second.adopt()
        assert second.active == ground.config("good")
        await second.apply(ground.config("good"))
        assert await ground.generation() == generation
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(second.wait_lost())
            await ground.kill()
            await waiting
        assert await second.revive()

    async def test_what_was_told_to_stop_is_not_lost(self, ground: Ground) -> None:
        proxy = ground.proxy()
        await proxy.stop()
        await proxy.apply(ground.config("good"))
        waiting = asyncio.create_task(proxy.wait_lost())
        await proxy.stop()
        assert await ground.answer() is None
        assert proxy.active == ""
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await proxy.stop()
