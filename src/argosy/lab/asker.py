"""A lab machine's API, asked from the host: for tests, benchmarks and the demo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from argosy.errors import ArgosyError, RuntimeFailed, StoreUnavailable
from argosy.lab.state import LabRecord
from argosy.model import UnitState
from argosy.reconcile import Clock, SystemClock
from argosy.verdict import Phase, judge

View = Mapping[str, Any]
PATIENCE = 60.0


class Asker:
    """Speaks to one machine of a lab. Raises RuntimeFailed for an answer that is a failure (StoreUnavailable for a 503) and aiohttp's
    errors where there is no answer."""

    def __init__(self, lab: LabRecord, machine: str, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(lab.socket(machine))))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        async with self._session.request(method, f"http://argosy/argosy/v1{path}", json=body, params=query) as answer:
            if answer.status >= 400:
                kind: type[ArgosyError] = StoreUnavailable if answer.status == 503 else RuntimeFailed
                raise kind(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def wish(self, names: Sequence[str], target: str, text: str | None = None, **more: Any) -> None:
        """Tells many units their target at once. Raises RuntimeFailed for the first that is refused."""
        told = {"target": target, **({"text": text} if text else {}), **more}
        results = (await self.ask("POST", "/units", {"units": [{"name": name, **told} for name in names]}))["results"]
        for result in results:
            if result.get("error"):
                raise RuntimeFailed(f"{result['name']}: {result['error']['message']}")

    async def units(self) -> dict[str, View]:
        return {unit["name"]: unit for unit in (await self.ask("GET", "/units"))["units"]}

    async def machines(self) -> dict[str, View]:
        """By name."""
        return {machine["name"]: machine for machine in (await self.ask("GET", "/machines"))["machines"]}

    async def until(self, holds: Callable[[dict[str, View]], bool], what: str, patience: float = PATIENCE) -> float:
        """The monotonic time at which `holds` was first seen true of all units, told of each change as it happens."""
        index = 0
        end = self.clock.monotonic() + patience
        while True:
            found = await self.ask("GET", "/units", **({"index": index, "wait": 2} if index else {}))
            index = found["index"]
            units = {unit["name"]: unit for unit in found["units"]}
            now = self.clock.monotonic()
            if holds(units):
                return now
            if now > end:
                raise RuntimeFailed(f"not within {patience:.0f} s: {what}; there is {units}")

    async def until_running(self, names: Sequence[str], patience: float = PATIENCE) -> float:
        """When all of them ran: a process of the launch that was asked for last, on the machine where they are placed."""
        return await self.until(lambda units: all(runs(units.get(name)) for name in names), f"{', '.join(names)} running", patience)

    async def home(self, name: str) -> tuple[str, int]:
        """(name of the machine that a unit is placed on, its main process there)."""
        unit = (await self.units())[name]
        names = {machine["id"]: known for known, machine in (await self.machines()).items()}
        place = unit["places"][0]["machine"]
        pid = next((state.get("pid", 0) for state in unit.get("states", []) if state["machine"] == place), 0)
        return names.get(place, place), pid

    async def destroy_all(self) -> None:
        """Destroys every unit and waits until none is left on any machine."""
        for name in await self.units():
            await self.ask("DELETE", f"/units/{name}")
        end = self.clock.monotonic() + PATIENCE
        while any(machine.get("active") for machine in (await self.machines()).values()):
            if self.clock.monotonic() > end:
                raise RuntimeFailed(f"units are still there after {PATIENCE:.0f} s")
            await self.clock.sleep(0.05)


def runs(unit: View | None) -> bool:
    """Whether a unit's newest launch runs wherever it is placed."""
    if not unit or not unit.get("places"):
        return False
    states = {state.machine: state for state in msgspec.convert(unit.get("states", []), list[UnitState])}
    return all(
        (state := states.get(place["machine"])) is not None and state.pid and judge(state, unit.get("launch", 0)) is Phase.RUNNING
        for place in unit["places"]
    )
