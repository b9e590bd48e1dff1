"""The cluster as placement sees it: machines, what is placed on them, and what each unit asks for, indexed.

A `Cluster` is a plain value in memory that its owner changes as the world changes; it decides nothing. Its indexes make the questions
of the filters cheap at any size: who is on this machine, where is this unit, who conflicts here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from argosy.model import Job
from argosy.placement.globs import Glob, Globs
from argosy.placement.names import SortedNames
from argosy.placement.queue import Improvements, Queue
from argosy.placement.strategies import Strategy, fewest_units
from argosy.unit.globs import check_glob

NOWHERE: tuple[str, ...] = ()
NO_JOBS: Mapping[str, Job] = {}
SHORT_ID = 8
"""Characters of a machine's short id (fleet's)."""

QUEUE_ENTRIES = 1_000_000
"""Entries that all queues of a kind may hold together, before the oldest is dropped (and built again when it is asked for)."""

SHAPES_WATCHED = 10_000

K = TypeVar("K")

Metadata = tuple[tuple[str, tuple[str, ...]], ...]
Shape = tuple[Metadata, tuple[str, ...], tuple[str, ...]]
"""What decides which machines conflicts leave to a unit: metadata, its own globs, and those of others that match its name."""


class Spot:
    """A machine as placement sees it. `present`: its agent is alive; one that is lost stays known as long as units are placed there.

    `blocked` names the problems for which its agent wants no new units, "" for none.
    `metadata` has the operator's orders laid over the agent's own. `units` are the names placed there (a dict for its order and its speed).
    """

    __slots__ = ("blocked", "cordoned", "draining", "id", "metadata", "present", "ready", "units")

    def __init__(self, machine: str) -> None:
        self.id = machine
        self.metadata: Mapping[str, str] = {}
        self.present = False
        self.blocked = ""
        self.cordoned = False
        self.draining = False
        self.ready = False
        self.units: dict[str, None] = {}


class Cluster:
    """Machines (`spots`), known units (`jobs`) and where each is placed (`where`: unit to machine ids, in order)."""

    def __init__(self, strategy: Strategy = fewest_units) -> None:
        self.spots: dict[str, Spot] = {}
        self.jobs: dict[str, Job] = {}
        self.where: dict[str, tuple[str, ...]] = {}
        self.followers: dict[str, set[str]] = {}
        self.globs = Globs()
        self.strategy = strategy
        self._placed_as: dict[str, dict[str, Job]] = {}
        self._short: dict[str, set[str]] = {}
        self._alone: dict[str, tuple[str, ...]] = {}
        self._names: SortedNames | None = None
        self._improvements = Improvements()
        self._queues: dict[Metadata, Queue[Spot]] = {}
        self._shapes: dict[Shape, Queue[Spot]] = {}
        self._wasted: dict[Shape, int] = {}

    # Machines

    def set_machine(
        self, machine: str, metadata: Mapping[str, str], *, cordoned: bool = False, draining: bool = False, blocked: str = ""
    ) -> None:
        """A machine is alive, with these (already merged) metadata and orders, and what its agent reports against new units."""
        spot = self._spot(machine)
        spot.present = True
        spot.metadata = metadata
        spot.cordoned = cordoned
        spot.draining = draining
        spot.blocked = blocked
        spot.ready = not (cordoned or draining or blocked)
        self._improved(machine)

    def lose_machine(self, machine: str) -> None:
        """A machine is gone; it is forgotten as soon as nothing is placed there."""
        spot = self.spots.get(machine)
        if spot is None:
            return
        spot.present = spot.ready = False
        self._forget_if_empty(spot)

    def with_id(self, wanted: str) -> list[Spot]:
        """Machines with this id, or with this short id."""
        if len(wanted) == SHORT_ID:
            return [self.spots[machine] for machine in sorted(self._short.get(wanted, ()))]
        return [self.spots[wanted]] if wanted in self.spots else []

    # Units

    def set_job(self, job: Job) -> bool:
        """What a unit asks for; True if that changed. Raises InvalidUnit for a malformed glob, leaving all as it was."""
        old = self.jobs.get(job.name)
        if old is not None and old.requirements == job.requirements:
            return False
        for pattern in (*job.requirements.conflicts, *job.requirements.replaces):
            check_glob(pattern)
        places = self.where.get(job.name, NOWHERE)
        if old is not None:
            self._unlink(old, places)
        self.jobs[job.name] = job
        self._link(job, places)
        return True

    def drop_job(self, name: str) -> None:
        """Nothing is known of a unit any more; where it is still placed (see `put`), it counts."""
        old = self.jobs.pop(name, None)
        if old is not None:
            self._unlink(old, self.where.get(name, NOWHERE))

    def put(self, name: str, machine: str, job: Job | None = None) -> None:
        """A unit is placed on a machine (or known to be); repeating it changes nothing. `job` is what it asks for there, where that is not
        what is known of the unit: it runs there with an older text, or nobody wants it any more."""
        spot = self.spots.get(machine) or self._spot(machine)
        if name in spot.units:
            if self._placed_as.get(name, NO_JOBS).get(machine) != job:
                self._release(self.job_on(name, machine), machine)
                self._place_as(name, machine, job)
                self._hold(self.job_on(name, machine), machine)
                self._improved(machine)
            return
        spot.units[name] = None
        places = self.where.get(name)
        if not places:
            self.where[name] = self._alone[machine]
            if self._names is not None:
                self._names.add(name)
        else:
            self.where[name] = tuple(sorted((*places, machine)))
        if self.globs:
            for glob in self.globs.matching(name):
                glob.match(name, machine, 1)
        if job is not None:
            self._place_as(name, machine, job)
        self._hold(job or self.jobs.get(name), machine)

    def take(self, name: str, machine: str) -> None:
        """A unit is not placed on a machine any more."""
        spot = self.spots.get(machine)
        if spot is None or name not in spot.units:
            return
        del spot.units[name]
        left = tuple(place for place in self.where[name] if place != machine)
        if left:
            self.where[name] = left
        else:
            del self.where[name]
            if self._names is not None:
                self._names.discard(name)
        if self.globs:
            for glob in self.globs.matching(name):
                glob.match(name, machine, -1)
            self._release(self.job_on(name, machine), machine)
        self._place_as(name, machine, None)
        self._improved(machine)
        self._forget_if_empty(spot)

    # Questions

    def job_on(self, name: str, machine: str) -> Job | None:
        """What a placed unit asks for on this machine."""
        return self._placed_as.get(name, NO_JOBS).get(machine) or self.jobs.get(name)

    def tied(self, name: str) -> bool:
        """Whether this unit's place may depend on other units, or theirs on it."""
        job = self.jobs.get(name)
        if job is not None and (job.requirements.conflicts or job.requirements.replaces or job.requirements.peers):
            return True
        return name in self.followers or name in self._placed_as or (bool(self.globs) and bool(self.globs.matching(name)))

    def pushes(self) -> list[tuple[str, str]]:
        """(machine, glob) of every placed unit's Replaces=."""
        return [(machine, glob.pattern) for glob in self.globs.pushing() for machine in glob.pushing]

    def shape(self, job: Job) -> Shape | None:
        """Units of one shape are refused by the same machines; None where names matter as well (Replaces)."""
        wanted = job.requirements
        touching = self.globs.matching(job.name)
        if wanted.replaces or any(glob.replacing or glob.pushing for glob in touching):
            return None
        return (wanted.metadata, wanted.conflicts, tuple(glob.pattern for glob in touching if glob.conflicting or glob.held))

    def queue(self, metadata: Metadata) -> Queue[Spot]:
        """Ready machines with these metadata, in the strategy's order."""
        queue = self._queues.get(metadata)
        if queue is None:
            self._make_room(self._queues)
            queue = self._queues[metadata] = self._new_queue(metadata, forgetful=False)
        return queue

    def shape_queue(self, shape: Shape) -> Queue[Spot]:
        """The queue to search for units of a shape: the common one, or, once that has cost more than building one, the shape's own."""
        own = self._shapes.get(shape)
        if own is not None:
            return own
        if self._wasted.get(shape, 0) <= len(self.spots):
            return self.queue(shape[0])
        self._make_room(self._shapes)
        del self._wasted[shape]
        own = self._shapes[shape] = self._new_queue(shape[0], forgetful=True)
        return own

    def waste(self, shape: Shape, refusals: int) -> None:
        """A search for this shape went past so many refused machines."""
        if shape not in self._shapes:
            if len(self._wasted) >= SHAPES_WATCHED:
                self._wasted.clear()
            self._wasted[shape] = self._wasted.get(shape, 0) + refusals

    # Inside

    def _new_queue(self, metadata: Metadata, *, forgetful: bool) -> Queue[Spot]:
        def eligible(spot: Spot) -> bool:
            return spot.ready and (not metadata or has_metadata(spot.metadata, metadata))

        return Queue(self.spots, self._improvements, eligible, self.strategy, forgetful=forgetful)

    def _make_room(self, queues: dict[K, Queue[Spot]]) -> None:
        if len(queues) * len(self.spots) >= QUEUE_ENTRIES:
            del queues[next(iter(queues))]

    def _spot(self, machine: str) -> Spot:
        spot = self.spots.get(machine)
        if spot is None:
            spot = self.spots[machine] = Spot(machine)
            self._short.setdefault(machine[:SHORT_ID], set()).add(machine)
            self._alone[machine] = (machine,)
        return spot

    def _forget_if_empty(self, spot: Spot) -> None:
        if spot.present or spot.units:
            return
        del self.spots[spot.id], self._alone[spot.id]
        same = self._short[spot.id[:SHORT_ID]]
        same.discard(spot.id)
        if not same:
            del self._short[spot.id[:SHORT_ID]]

    def _improved(self, machine: str) -> None:
        self._improvements.add(machine, len(self.spots))

    def _link(self, job: Job, places: tuple[str, ...]) -> None:
        for peer in job.requirements.peers:
            self.followers.setdefault(peer, set()).add(job.name)
        for pattern in job.requirements.conflicts:
            self._glob(pattern).conflicting.add(job.name)
        for pattern in job.requirements.replaces:
            self._glob(pattern).replacing.add(job.name)
        other = self._placed_as.get(job.name, NO_JOBS)
        for machine in places:
            if machine not in other:
                self._hold(job, machine)

    def _unlink(self, job: Job, places: tuple[str, ...]) -> None:
        other = self._placed_as.get(job.name, NO_JOBS)
        for machine in places:
            if machine not in other:
                self._release(job, machine)
                self._improved(machine)
        for peer in job.requirements.peers:
            same = self.followers.get(peer)
            if same is not None:
                same.discard(job.name)
                if not same:
                    del self.followers[peer]
        for pattern in (*job.requirements.conflicts, *job.requirements.replaces):
            glob = self.globs.get(pattern)
            if glob is not None:
                glob.conflicting.discard(job.name)
                glob.replacing.discard(job.name)
                self._discard_if_unused(glob)

    def _hold(self, job: Job | None, machine: str) -> None:
        if job is None:
            return
        for pattern in job.requirements.conflicts:
            self._glob(pattern).held.setdefault(machine, set()).add(job.name)
        for pattern in job.requirements.replaces:
            self._glob(pattern).pushing.setdefault(machine, set()).add(job.name)

    def _release(self, job: Job | None, machine: str) -> None:
        if job is None:
            return
        for pattern in (*job.requirements.conflicts, *job.requirements.replaces):
            glob = self.globs.get(pattern)
            if glob is None:
                continue
            for holders in (glob.held, glob.pushing):
                names = holders.get(machine)
                if names is not None:
                    names.discard(job.name)
                    if not names:
                        del holders[machine]
            self._discard_if_unused(glob)

    def _discard_if_unused(self, glob: Glob) -> None:
        if not (glob.conflicting or glob.replacing or glob.held or glob.pushing):
            self.globs.discard(glob)

    def _place_as(self, name: str, machine: str, job: Job | None) -> None:
        if job is not None:
            self._placed_as.setdefault(name, {})[machine] = job
            return
        here = self._placed_as.get(name)
        if here is not None:
            here.pop(machine, None)
            if not here:
                del self._placed_as[name]

    def _glob(self, pattern: str) -> Glob:
        """The pattern's entry; a new one is told of the placed units that it matches."""
        glob = self.globs.get(pattern)
        if glob is not None:
            return glob
        glob = self.globs.add(pattern)
        for name in self._placed(glob):
            if glob in self.globs.matching(name):
                for machine in self.where[name]:
                    glob.match(name, machine, 1)
        return glob

    def _placed(self, glob: Glob) -> list[str]:
        """Placed units that the pattern may match."""
        if glob.prefix == glob.pattern:
            return [glob.pattern] if glob.pattern in self.where else []
        if self._names is None:
            self._names = SortedNames(self.where)
        return list(self._names.starting(glob.prefix))


def has_metadata(metadata: Mapping[str, str], wanted: Metadata) -> bool:
    """For every wanted key, one of its values."""
    return all(metadata.get(key) in values for key, values in wanted)
