"""A unit's status and journal from whichever machine it is on, and commands on machines: here by asking our own agent, elsewhere its
api."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from argosy.api import command as local
from argosy.api.inspector import Inspector
from argosy.api.peers import Peers
from argosy.api.queries import read_machines
from argosy.api.shapes import Command, LocalStatus, Output, StatusOn
from argosy.errors import ArgosyError, InvalidInput, NotFound, Refused, Unsuitable
from argosy.model import LogLine, Machine
from argosy.state.cache import Cache


class Remote:
    """`inspector` is this machine's agent (None: this process runs none), `allow_exec` is [api] exec."""

    def __init__(self, cache: Cache, machine_id: str, inspector: Inspector | None, peers: Peers, allow_exec: bool) -> None:
        self.cache = cache
        self.machine_id = machine_id
        self.inspector = inspector
        self.peers = peers
        self.allow_exec = allow_exec

    async def status_here(self, name: str, lines: int) -> LocalStatus:
        """Raises NotFound for a unit that is not loaded here, and RuntimeFailed."""
        inspector = self._inspector()
        detail = await inspector.detail(name)
        found = [line async for line in self.logs_here(name, lines, follow=False)] if lines else []
        return LocalStatus(detail, found)

    async def logs_here(self, name: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        stream = self._inspector().logs(name, lines, follow)
        try:
            async for line in stream:
                yield line
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def run_here(self, command: Command) -> AsyncGenerator[Output, None]:
        """Raises Refused where the operator has not allowed it."""
        if not self.allow_exec:
            raise Refused(f"machine {self.machine_id} runs no commands for others", remedy="set exec = true in [api] there")
        async with aclosing(local.run(command)) as pieces:
            async for piece in pieces:
                yield piece

    async def status(self, name: str, where: Sequence[str], lines: int) -> list[StatusOn]:
        """The unit on each of these machines. One that cannot be asked is told with its error."""
        machines = (await read_machines(self.cache)).machines
        return list(await asyncio.gather(*(self._status_on(machine, machines, name, lines) for machine in where)))

    async def _status_on(self, machine_id: str, machines: Mapping[str, Machine], name: str, lines: int) -> StatusOn:
        machine = machines.get(machine_id)
        if machine is None and machine_id != self.machine_id:
            return StatusOn(machine_id, error="the machine is not alive")
        about = StatusOn(machine_id, machine.name if machine else "", machine.address if machine else "")
        try:
            if machine_id == self.machine_id or machine is None:
                found = await self.status_here(name, lines)
            else:
                found = await self.peers.status(machine, name, lines)
        except ArgosyError as error:
            return StatusOn(about.machine, about.name, about.address, error=str(error))
        return StatusOn(about.machine, about.name, about.address, found.detail, found.lines)

    async def journal(self, name: str, where: Sequence[str], machine: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        """Lines from the one machine where the unit is; `machine` (an id) chooses among several. Raises NotFound for a unit that is
        nowhere, InvalidInput if several could be meant."""
        place = self._one_place(name, where, machine)
        if place == self.machine_id:
            stream = self.logs_here(name, lines, follow)
        else:
            stream = self.peers.logs(await self._alive(place), name, lines, follow)
        async with aclosing(stream) as found:
            async for line in found:
                yield line

    async def run(self, machine: Machine, command: Command) -> AsyncGenerator[Output, None]:
        stream = self.run_here(command) if machine.id == self.machine_id else self.peers.run(machine, command)
        async with aclosing(stream) as found:
            async for piece in found:
                yield piece

    def _one_place(self, name: str, where: Sequence[str], machine: str) -> str:
        if machine:
            if machine not in where:
                raise NotFound(f"unit {name} is not on machine {machine}", remedy=f"it is on {', '.join(where) or 'none'}")
            return machine
        if not where:
            raise NotFound(f"unit {name} is on no machine", remedy=f"argosy why {name} says why")
        if len(where) > 1:
            raise InvalidInput(f"unit {name} is on {len(where)} machines: {', '.join(where)}", remedy="choose one of them with --machine")
        return where[0]

    async def _alive(self, machine_id: str) -> Machine:
        found = (await read_machines(self.cache)).machines.get(machine_id)
        if found is None:
            raise NotFound(f"machine {machine_id} is not alive", remedy="argosy list-machines shows those that are")
        return found

    def _inspector(self) -> Inspector:
        if self.inspector is None:
            raise Unsuitable(f"no agent runs units on machine {self.machine_id}", remedy="start argosy agent there")
        return self.inspector
