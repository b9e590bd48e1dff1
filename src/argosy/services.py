"""The services of one process: each runs by itself, and one that fails is started again by itself while all others go on.

`argosy agent` is a table of services (see daemon). A service never returns. Whatever it raises ends this one service; it is started again
after a delay that grows while it keeps failing. An error that an operator must mend before anything can run ends the process instead,
if the service has not started yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from argosy.errors import ArgosyError, InvalidInput, Refused, Unsuitable, leaves
from argosy.reconcile import Backoff, Clock, Wake

log = logging.getLogger(__name__)

LEAST, MOST = 0.5, 60.0
"""Seconds until a service that failed is started again, at first and at most."""
OFTEN = 3
"""Failures after which an operator is told ..."""
WELL = 300.0
"""... unless the service has run for so many seconds in between; then all is forgotten."""
LONGEST = 200
"""Characters of an error that an operator is shown."""

OPERATOR = (InvalidInput, Refused, Unsuitable)
"""Errors that an operator must mend: a setting, an address in use, a machine id that another agent keeps alive."""


class Service(msgspec.Struct, frozen=True):
    """`needs` are the services without which it does nothing. `fatal` are the errors that end the process until `has_started` is true
    (None: until it has run for a while)."""

    run: Callable[[], Awaitable[None]]
    needs: tuple[str, ...] = ()
    fatal: tuple[type[ArgosyError], ...] = OPERATOR
    has_started: Callable[[], bool] | None = None


class Standing(msgspec.Struct):
    """How a service does. `began` is the monotonic time of its latest start, `failures` those since it last ran well."""

    running: bool = False
    began: float = 0.0
    restarts: int = 0
    failures: int = 0


class Services:
    """`tell` is called with a service's name and its error, in words, when it keeps failing, and with "" once it has run well again."""

    def __init__(self, table: Mapping[str, Service], clock: Clock, tell: Callable[[str, str], None]) -> None:
        for name, service in table.items():
            if missing := set(service.needs) - table.keys():
                raise KeyError(f"service {name} needs {', '.join(sorted(missing))}")
        self.table = dict(table)
        self.standing = {name: Standing() for name in table}
        self._clock = clock
        self._tell = tell
        self._failed = Wake()

    async def run(self) -> None:
        """Run all services until this is cancelled. Raises the error that an operator must mend, if one comes before its service has
        started."""
        async with asyncio.TaskGroup() as group:
            for name in self.table:
                group.create_task(self._supervise(name), name=name)
            group.create_task(self._forgive())

    def collect(self) -> Iterable[Metric]:
        """The figures of /metrics."""
        restarts = CounterMetricFamily("argosy_service_restarts", "Times that a service was started again", labels=["service"])
        running = GaugeMetricFamily("argosy_service_running", "1 while a service runs", labels=["service"])
        for name, standing in self.standing.items():
            restarts.add_metric([name], standing.restarts)
            running.add_metric([name], standing.running)
        return [restarts, running]

    async def _supervise(self, name: str) -> None:
        standing = self.standing[name]
        backoff = Backoff(LEAST, MOST)
        while True:
            standing.began, standing.running = self._clock.monotonic(), True
            error = await self._until_it_fails(name)
            standing.running = False
            if not standing.restarts and (fatal := self._fatal(name, error)) is not None:
                raise fatal
            if self._clock.monotonic() - standing.began >= WELL:
                standing.failures = 0
            standing.failures += 1
            backoff.failures = standing.failures - 1
            pause = backoff.next()
            self._log(name, error, pause)
            if standing.failures >= OFTEN:
                self._tell(name, f"service {name} keeps failing: {words(error)}"[:LONGEST])
            await self._clock.sleep(pause)
            standing.restarts += 1
            self._failed.set()

    async def _until_it_fails(self, name: str) -> BaseException:
        """Run the service once. Raises CancelledError if this task was cancelled, even if the service fails meanwhile: a task that
        swallowed its cancellation would keep the process from ending."""
        task = asyncio.current_task()
        assert task is not None
        error: BaseException
        try:
            await self.table[name].run()
            error = RuntimeError("it has returned")
        except (Exception, asyncio.CancelledError) as failure:
            error = failure
        if not task.cancelling():
            return error
        if not isinstance(error, asyncio.CancelledError):
            log.error("service %s failed while it was stopped: %s", name, words(error), exc_info=error)
        raise asyncio.CancelledError

    def _fatal(self, name: str, error: BaseException) -> ArgosyError | None:
        """The error that ends the process, if this is one."""
        service, standing = self.table[name], self.standing[name]
        well = self._clock.monotonic() - standing.began >= WELL
        if service.has_started() if service.has_started is not None else well:
            return None
        return next((leaf for leaf in leaves(error) if isinstance(leaf, service.fatal)), None)

    def _log(self, name: str, error: BaseException, pause: float) -> None:
        unexpected = any(not isinstance(leaf, ArgosyError) for leaf in leaves(error))
        waiting = [other for other, service in self.table.items() if name in service.needs]
        consequence = f"; {', '.join(waiting)} cannot do without it" if waiting else ""
        cause = error if unexpected else None
        log.error("service %s failed: %s; starting it again in %.1f s%s", name, words(error), pause, consequence, exc_info=cause)

    async def _forgive(self) -> None:
        """Forget the failures of services that have run well for a while."""
        while True:
            now = self._clock.monotonic()
            pause: float | None = None
            for name, standing in self.standing.items():
                if not standing.failures or not standing.running:
                    continue
                left = standing.began + WELL - now
                if left > 0:
                    pause = left if pause is None else min(pause, left)
                    continue
                log.info("service %s runs well again", name)
                standing.failures = 0
                self._tell(name, "")
            await self._failed.wait(self._clock, pause)


def words(error: BaseException) -> str:
    """An error on one line: what an ArgosyError says, the kind and text of any other."""
    first = leaves(error)[0]
    text = str(first) if isinstance(first, ArgosyError) else f"{type(first).__name__}: {first}".removesuffix(": ")
    return " ".join(text.split())
