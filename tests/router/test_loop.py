"""The router's loop above a proxy in memory: what it serves, when, and what it tells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from prometheus_client import Gauge

from argosy.errors import StoreUnavailable
from argosy.model import Entry, RouterDetail, RouterReport
from argosy.router import metrics
from argosy.router.exclusion import Exclusion
from argosy.router.feed import StoreFeed
from argosy.router.loop import GATHER, GATHER_MOST, Router, gathering, resolve
from argosy.router.render import Settings, routes_of
from argosy.router.report import Reporter
from argosy.router.served import Served, brief, detail
from argosy.router.tls.plan import Shelved
from argosy.sockdiag import Target
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.lease import Lease
from argosy.state.records import decode, encode
from argosy.store.base import Delete, Listing, Put, Record
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock, settle
from tests.router.memory import Host, MemoryProxy
from tests.router.web import until, until_async

ME = "a" * 32
SETTINGS = Settings(listen=("127.0.0.1:80",), domain="example", nofile=1024)


class Away(SqliteStore):
    """A store that can be away."""

    away = False

    async def list(self, prefix: str) -> Listing:
        if self.away:
            raise StoreUnavailable("away")
        return await super().list(prefix)

    async def get(self, key: str) -> Record | None:
        if self.away:
            raise StoreUnavailable("away")
        return await super().get(key)


class Stage:
    """A router, its store and its proxy's host."""

    def __init__(self, store: Away, clock: FakeClock, folder: Path) -> None:
        self.store = store
        self.memory = Served(folder / "served.json")
        self.failing: dict[Target, str] = {}
        self.clock = clock
        self.host = Host()
        self.names: dict[str, tuple[str, ...]] = {}
        self.proxy = MemoryProxy(self.host)
        self.router = self.fresh()

    def fresh(self, templates: Path | None = None, settings: Settings = SETTINGS) -> Router:
        self.proxy = MemoryProxy(self.host)
        self.lease = Lease(self.store, self.clock, 5.0)
        reports = Reporter(ME, self.lease)
        feed = StoreFeed(Cache(self.store, self.clock))
        self.router = Router(
            feed,
            ME,
            self.proxy,
            settings,
            self.clock,
            reports=reports,
            templates=templates,
            memory=self.memory,
            exclusion=Exclusion(self.clock, self.connect),
            resolve=self.resolve,
        )
        return self.router

    async def connect(self, host: str, port: int) -> str:
        return self.failing.get((host, port), "")

    async def resolve(self, host: str) -> tuple[str, ...]:
        return self.names.get(host, ())

    async def put(self, **values: str) -> None:
        await self.store.commit([], [Put(f"{keys.WEB}{app}/1", encode(Entry(value))) for app, value in values.items()])

    async def delete(self, *apps: str) -> None:
        await self.store.commit([], [Delete(f"{keys.WEB}{app}/1") for app in apps])

    async def told(self) -> RouterReport | None:
        record = await self.store.get(keys.router(ME))
        return decode(RouterReport, record.value, record.key) if record else None

    def serves(self, *apps: str) -> bool:
        return [up.app for up in self.router.served.upstreams] == list(apps) and self.router.report.since > 0

    async def comes(self, condition: Callable[[], bool], what: str) -> None:
        """Until the condition holds, with time passing meanwhile."""

        async def step() -> bool:
            await self.clock.advance(0.01)
            return condition()

        await until_async(step, what)

    async def served(self, *apps: str) -> None:
        """Until exactly these are served; changes are no longer being gathered then."""
        await self.comes(lambda: self.serves(*apps), f"{apps} are served")
        await self.clock.advance(gathering(self.host.lingering))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.router.run()), asyncio.create_task(self.lease.hold())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def stage(clock: FakeClock, tmp_path: Path) -> AsyncIterator[Stage]:
    async with Away(":memory:", clock) as store:
        yield Stage(store, clock, tmp_path)


async def test_an_announced_key_is_served_and_reported_with_since_when(stage: Stage) -> None:
    async with stage.running():
        await stage.served()
        await stage.put(hello="10.0.0.1:3000")
        await stage.served("hello")
        assert "server 10.0.0.1:3000" in stage.host.running
        await until_async(lambda: told_apps(stage, ["hello"]), "the report is in the store")
        report = await stage.told()
        assert report is not None
        served = await stage.router.detail(["hello"])
        assert served.hosts == {"hello": "hello.example"}
        assert stage.clock.now() - 1 < served.upstreams[0].since == report.since <= stage.clock.now()
        assert await stage.router.detail(["other"]) == RouterDetail()
        await stage.delete("hello")
        await stage.served()
        assert "10.0.0.1" not in stage.host.running
    assert stage.proxy.closed
    assert stage.host.running


def gauge(metric: Gauge) -> float:
    (family,) = metric.collect()
    return family.samples[0].value


async def told_apps(stage: Stage, apps: Sequence[str]) -> bool:
    report = await stage.told()
    return report is not None and report.routes == len(apps) and stage.serves(*apps) and report == stage.router.report


async def test_since_is_kept_for_what_stays_when_something_else_changes(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
        first = stage.router.report.since
        await stage.clock.advance(100)
        await stage.put(b="10.0.0.2:80")
        await stage.served("a", "b")
        a, b = stage.router.served.upstreams
        assert a.since == first
        assert b.since == stage.router.report.since >= first + 100


async def test_a_refresh_with_the_same_value_neither_reloads_nor_writes_a_report(stage: Stage) -> None:
    async with stage.running():
        await stage.put(hello="10.0.0.1:3000")
        await stage.served("hello")
        await until_async(lambda: told_apps(stage, ["hello"]), "the report is in the store")
        before = await stage.store.get(keys.router(ME))
        applied = stage.proxy.applied
        for expires in (100.0, 145.0, 190.0):
            entry = Entry("10.0.0.1:3000", ttl=60, expires=expires)
            await stage.store.commit([], [Put(f"{keys.WEB}hello/1", encode(entry))])
            await stage.clock.advance(1)
        assert stage.proxy.applied == applied
        after = await stage.store.get(keys.router(ME))
        assert before is not None
        assert after is not None
        assert after.modified == before.modified


async def test_the_first_change_is_not_delayed_and_those_that_follow_at_once_are_gathered(stage: Stage) -> None:
    async with stage.running():
        await stage.served()
        applied = stage.proxy.applied
        await stage.put(a="10.0.0.1:80")
        await until(lambda: stage.serves("a"), "the first change is served while the clock stands still")
        assert stage.proxy.applied == applied + 1
        for number in range(20):
            await stage.put(**{f"b{number:02}": "10.0.0.2:80"})
        await settle()
        assert stage.proxy.applied == applied + 1
        await stage.served("a", *(f"b{number:02}" for number in range(20)))
        assert stage.proxy.applied == applied + 2


def test_the_more_long_connections_linger_the_longer_changes_are_gathered() -> None:
    times = [gathering(lingering) for lingering in range(100)]
    assert times[0] <= 0.1
    assert times == sorted(times)
    assert times[-1] == GATHER_MOST


def test_the_longer_a_change_takes_the_longer_the_next_are_gathered_within_bounds() -> None:
    assert [gathering(0, took) for took in (0.0, 0.5, 1.0, 60.0)] == [GATHER, 0.5, 1.0, GATHER_MOST]


async def test_a_refused_key_is_told_once_by_name_in_the_log_the_report_and_the_metric(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "argosy.router")
    async with stage.running():
        await stage.put(bad="127.0.0.1:80; } server {", good="10.0.0.1:80")
        await stage.served("good")
        assert [refused.key for refused in stage.router.served.refused] == ["/services/web/bad/1"]
        assert gauge(metrics.REFUSED) == 1
        assert gauge(metrics.ROUTES) == 1
        await stage.put(good="10.0.0.2:80")
        await stage.comes(lambda: "10.0.0.2" in stage.host.running, "the change is served")
        told = [record.getMessage() for record in caplog.records if "refused route /services/web/bad/1" in record.getMessage()]
        assert len(told) == 1
        await stage.put(bad="10.0.0.3:80")
        await stage.served("bad", "good")
        assert "route /services/web/bad/1 is refused no more" in caplog.messages
        assert gauge(metrics.REFUSED) == 0


async def test_a_configuration_that_is_refused_is_reported_and_tried_again_while_the_last_good_one_serves(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
        good = stage.host.running
        stage.host.refuse = "no more files"
        await stage.put(b="10.0.0.2:80")
        await stage.comes(lambda: "no more files" in stage.router.report.error, "the refusal is reported")
        assert stage.host.running == good
        assert [up.app for up in stage.router.served.upstreams] == ["a"]
        stage.host.refuse = ""
        await stage.clock.advance(0.6)
        await stage.served("a", "b")
        assert stage.router.report.error == ""


async def test_an_instance_that_cannot_be_connected_to_is_asked_last_until_a_connection_succeeds(stage: Stage) -> None:
    async with stage.running():
        await stage.store.commit([], [Put(f"{keys.WEB}a/{number}", encode(Entry(f"10.0.0.{number}:80"))) for number in (1, 2)])
        await stage.served("a", "a")
        stage.failing["10.0.0.1", 80] = "connection refused"
        stage.host.failing = frozenset({("10.0.0.1", 80), ("10.9.9.9", 80)})
        await stage.comes(lambda: "server 10.0.0.1:80 max_fails=0 backup;" in stage.host.running, "it is excluded")
        assert "server 10.0.0.2:80 max_fails=0;" in stage.host.running
        await stage.comes(lambda: bool(stage.router.served.excluded), "it is told")
        (excluded,) = stage.router.served.excluded
        assert (excluded.app, excluded.instance, excluded.address, excluded.reason) == ("a", "1", "10.0.0.1:80", "connection refused")
        await stage.comes(lambda: stage.router.report.excluding == 1, "it is counted")
        stage.failing.clear()
        await stage.comes(lambda: "backup" not in stage.host.running, "it is back")
        await stage.comes(lambda: not stage.router.served.excluded, "that is told too")


async def test_the_last_instance_is_never_excluded(stage: Stage) -> None:
    async with stage.running():
        await stage.store.commit([], [Put(f"{keys.WEB}a/{number}", encode(Entry(f"10.0.0.{number}:80"))) for number in (1, 2)])
        await stage.put(b="10.0.0.1:80")
        await stage.served("a", "a", "b")
        stage.failing = {("10.0.0.1", 80): "connection refused", ("10.0.0.2", 80): "no connection within 0.75 s"}
        stage.host.failing = frozenset({("10.0.0.1", 80)})
        await stage.comes(lambda: len(stage.router.served.excluded) == 1, "the first is excluded where there is another")
        assert stage.host.running.count("backup") == stage.host.running.count("server 10.0.0.2:80")
        stage.host.failing = frozenset({("10.0.0.2", 80)})
        await stage.comes(lambda: "backup" not in stage.host.running, "none is excluded where all fail")
        await stage.comes(lambda: stage.router.served.excluded == (), "that is told too")


async def test_an_upstream_that_nginx_complains_of_but_that_accepts_connections_stays(stage: Stage) -> None:
    async with stage.running():
        await stage.store.commit([], [Put(f"{keys.WEB}a/{number}", encode(Entry(f"10.0.0.{number}:80"))) for number in (1, 2)])
        await stage.served("a", "a")
        generation = stage.host.generation
        stage.host.failing = frozenset({("10.0.0.1", 80)})
        await stage.comes(lambda: not stage.host.failing, "the complaint is heard")
        await stage.clock.advance(5)
        assert (stage.host.generation, stage.router.served.excluded) == (generation, ())


async def test_a_killed_proxy_is_started_again(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
        config = stage.host.running
        stage.host.kill()
        await stage.clock.advance(0.2)
        await stage.comes(lambda: stage.host.running == config, "it runs again")


async def test_a_restarted_router_adopts_what_runs_without_a_reload_and_remembers_since_when(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
        since = stage.router.report.since
        await until_async(lambda: told_apps(stage, ["a"]), "the report is in the store")
    generation = stage.host.generation
    await stage.clock.advance(2)
    stage.fresh()
    async with stage.running():
        await stage.served("a")
        assert stage.router.served.upstreams[0].since == since
        assert stage.host.generation == generation


async def test_with_the_store_away_the_router_goes_on_and_after_a_restart_serves_what_it_last_served(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
    config = stage.host.running
    stage.host.kill()
    stage.store.away = True
    stage.fresh()
    async with stage.running():
        await settle()
        assert stage.host.running == ""
        await stage.clock.advance(1.1)
        await stage.comes(lambda: stage.host.running == config, "the last good configuration is served")
        stage.store.away = False
        await stage.put(b="10.0.0.2:80")
        await stage.clock.advance(10)
        await stage.served("a", "b")


async def test_a_host_name_is_served_at_its_addresses_and_asked_again_now_and_then(stage: Stage) -> None:
    stage.names["web.internal"] = ("10.0.0.5",)
    async with stage.running():
        await stage.put(a="web.internal:80", b="nowhere:80")
        await stage.clock.advance(1)
        await stage.comes(lambda: "server 10.0.0.5:80" in stage.host.running, "the name's address is served")
        await stage.comes(lambda: [refused.key for refused in stage.router.served.refused] == ["/services/web/b/1"], "the other is refused")
        assert stage.router.served.upstreams[0].address == "web.internal:80"
        stage.names["web.internal"] = ("10.0.0.6",)
        await stage.clock.advance(31)
        await stage.comes(lambda: "server 10.0.0.6:80" in stage.host.running, "the new address is served")
        stage.names.clear()
        await stage.clock.advance(31)
        assert "server 10.0.0.6:80" in stage.host.running


async def test_names_resolve_to_ipv4_first_and_what_does_not_resolve_to_nothing() -> None:
    assert await resolve("localhost") == ("127.0.0.1",)
    assert await resolve("a" * 64) == ()


async def test_a_mistake_in_the_operator_s_template_is_reported_and_the_last_good_configuration_serves(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
    stage.host.kill()
    template = tmp_path / "nginx.conf.j2"
    template.write_text("{{ nonsense }}")
    stage.fresh(tmp_path)
    async with stage.running():
        await stage.comes(lambda: "'nonsense' is undefined" in stage.router.report.error, "the mistake is reported")
        await stage.comes(lambda: "server 10.0.0.1:80" in stage.host.running, "the last good configuration is served")
        await asyncio.to_thread(template.write_text, "events {} # {{ apps | length }}")
        await stage.clock.advance(1)
        await stage.comes(lambda: stage.host.running == "events {} # 1", "the corrected template is served")


async def test_a_broken_record_harms_no_other(stage: Stage) -> None:
    async with stage.running():
        await stage.store.commit([], [Put(f"{keys.WEB}x/1", b"{not json"), Put(f"{keys.WEB}y/1", encode(Entry("10.0.0.1:80")))])
        await stage.served("y")


async def test_the_report_lives_as_long_as_the_router(stage: Stage) -> None:
    async with stage.running():
        await until_async(lambda: told_apps(stage, []), "the report is in the store")
        for number in range(8):
            await stage.put(**{f"a{number}": "10.0.0.1:80"})
            await stage.clock.advance(1)
        assert await stage.told() is not None
    await stage.clock.advance(10)
    assert await stage.told() is None


async def test_a_report_whose_lease_has_ended_is_written_anew(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a="10.0.0.1:80")
        await stage.served("a")
        await until_async(lambda: told_apps(stage, ["a"]), "the report is in the store")
        record = await stage.store.get(keys.router(ME))
        assert record is not None
        await stage.store.revoke(record.lease)
        assert await stage.told() is None
        await stage.clock.advance(2)
        await until_async(lambda: told_apps(stage, ["a"]), "the report is back")


def test_a_change_writes_as_much_with_many_routes_as_with_few(stage: Stage) -> None:
    def sizes(count: int) -> RouterReport:
        routes = routes_of({f"app{number}/{'i' * 100}": Entry(f"10.0.{number // 250}.{number % 250}:80") for number in range(count)}, {})
        return brief(ME, detail(routes, RouterDetail(), Shelved(), {}, 1.0), SETTINGS, 1.0, "x" * 100_000)

    few, many = (len(encode(sizes(count))) for count in (1, 5_000))
    assert many <= few + 8 <= 1_000


def test_wrong_settings_are_refused_before_anything_runs(stage: Stage) -> None:
    with pytest.raises(Exception, match="domain is"):
        stage.fresh(settings=msgspec.structs.replace(SETTINGS, domain="a b"))
