"""The cluster as placement sees it: machines, what is placed on them, and what each unit asks for, indexed.

A `Cluster` is a plain value in memory that its owner changes as the world changes; it decides nothing. Its indexes make the questions
of the filters cheap at any size: who is on this machine, where is this unit, who conflicts here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Mapping

from argosy.model import Job
from argosy.placement import expressions
from argosy.placement.globs import Glob, Globs
from argosy.placement.names import SortedNames
from argosy.placement.queue import Improvements, Queues
from argosy.placement.spot import Spot, Traits
from argosy.placement.strategies import SPREAD, Strategy
from argosy.requirements import NOTHING, Expression
from argosy.unit import globs as unit_globs
from argosy.unit.globs import check_glob

NOWHERE: tuple[str, ...] = ()
NO_JOBS: Mapping[str, Job] = {}
NO_HOLDERS: Mapping[str, set[str]] = {}
NONE_MATCHED: Mapping[str, int] = {}
SHORT_ID = 8
"""Characters of a machine's short id (fleet's)."""

NAME_KEYS = ("container", "unit")
"""Keys of affinities that mean the workload's name."""


class Cluster:
    """Machines (`spots`; their ids in order: `ring`), known workloads (`jobs`) and where each is placed (`where`: name to machine ids, in
    order).

    `followers`: by name, who names it in MachineOf=. `replacers` counts known and placed workloads with Replaces=."""

    def __init__(self, strategy: Strategy = SPREAD) -> None:
        self.spots: dict[str, Spot] = {}
        self.ring: list[str] = []
        self.jobs: dict[str, Job] = {}
        self.where: dict[str, tuple[str, ...]] = {}
        self.followers: dict[str, set[str]] = {}
        self.globs = Globs(unit_globs)
        self.affinities = Globs(expressions)
        self.strategy = strategy
        self._placed_as: dict[str, dict[str, Job]] = {}
        self._short: dict[str, set[str]] = {}
        self._alone: dict[str, tuple[str, ...]] = {}
        self._names: SortedNames | None = None
        self.replacers = 0
        self._datasets: dict[str, dict[str, set[str]]] = {}
        self._improvements = Improvements()
        self.queues = Queues(self.spots, self._improvements, strategy.rank)

    # Machines

    def set_machine(self, machine: str, traits: Traits) -> None:
        """A machine is alive, and its records say this."""
        self._spot(machine).describe(traits)
        self._improved(machine)

    def lose_machine(self, machine: str) -> None:
        """A machine is gone; it is forgotten as soon as nothing is placed there."""
        spot = self.spots.get(machine)
        if spot is None:
            return
        spot.present = spot.ready = False
        self._forget_if_empty(spot)

    def with_id(self, wanted: str) -> Collection[str]:
        """Return the ids of machines with this id, or with this short id."""
        if len(wanted) == SHORT_ID:
            return self._short.get(wanted, ())
        return (wanted,) if wanted in self.spots else ()

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
        if self.globs.patterns or self.affinities.patterns:
            self._match(name, machine, 1)
        if job is not None:
            self._place_as(name, machine, job)
        self._hold(job or self.jobs.get(name), machine)
        if self.strategy.improves:
            self._improved(machine)

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
        if self.globs.patterns or self.affinities.patterns:
            self._match(name, machine, -1)
        self._release(self.job_on(name, machine), machine)
        self._place_as(name, machine, None)
        self._improved(machine)
        self._forget_if_empty(spot)

    # Questions

    def job_on(self, name: str, machine: str) -> Job | None:
        """What a placed unit asks for on this machine."""
        return self._placed_as.get(name, NO_JOBS).get(machine) or self.jobs.get(name)

    def differs(self, name: str) -> bool:
        """Return whether the workload is placed somewhere with other requirements than it is known with."""
        return name in self._placed_as

    def matched(self, wanted: Expression) -> Mapping[str, int]:
        """Return by machine how many placed workloads an affinity of some known workload matches."""
        glob = self.affinities.get(wanted.pattern) if wanted.key in NAME_KEYS else None
        return glob.matched if glob is not None else NONE_MATCHED

    def holders(self, dataset: str, name: str) -> Collection[str]:
        """Return the machines where workloads other than `name` use the dataset."""
        return [machine for machine, names in self._datasets.get(dataset, NO_HOLDERS).items() if names - {name}]

    def pushes(self) -> list[tuple[str, str]]:
        """(machine, glob) of every placed unit's Replaces=."""
        return [(machine, glob.pattern) for glob in self.globs.pushing() for machine in glob.pushing]

    # Inside

    def _spot(self, machine: str) -> Spot:
        spot = self.spots.get(machine)
        if spot is None:
            spot = self.spots[machine] = Spot(machine)
            self._short.setdefault(machine[:SHORT_ID], set()).add(machine)
            self._alone[machine] = (machine,)
            insort(self.ring, machine)
        return spot

    def _forget_if_empty(self, spot: Spot) -> None:
        if spot.present or spot.units:
            return
        del self.spots[spot.id], self._alone[spot.id]
        del self.ring[bisect_left(self.ring, spot.id)]
        same = self._short[spot.id[:SHORT_ID]]
        same.discard(spot.id)
        if not same:
            del self._short[spot.id[:SHORT_ID]]

    def _improved(self, machine: str) -> None:
        self._improvements.add(machine, len(self.spots))

    def _match(self, name: str, machine: str, change: int) -> None:
        for glob in self.globs.matching(name):
            glob.match(machine, change)
        for glob in self.affinities.matching(name) if self.affinities.patterns else ():
            glob.match(machine, change)

    def _link(self, job: Job, places: tuple[str, ...]) -> None:
        wanted = job.requirements
        if wanted is not NOTHING:
            for peer in wanted.peers:
                self.followers.setdefault(peer, set()).add(job.name)
            for pattern in wanted.conflicts:
                self._glob(self.globs, pattern).conflicting.add(job.name)
            for pattern in wanted.replaces:
                self._glob(self.globs, pattern).replacing.add(job.name)
            for expression in wanted.affinities:
                self._glob(self.affinities, expression.pattern).conflicting.add(job.name)
            self.replacers += bool(wanted.replaces)
        for machine in self._as_known(job.name, places):
            self._hold(job, machine)
            if self.strategy.improves:
                self._improved(machine)

    def _unlink(self, job: Job, places: tuple[str, ...]) -> None:
        for machine in self._as_known(job.name, places):
            self._release(job, machine)
            self._improved(machine)
        wanted = job.requirements
        for peer in wanted.peers:
            same = self.followers.get(peer)
            if same is not None:
                same.discard(job.name)
                if not same:
                    del self.followers[peer]
        for pattern in (*wanted.conflicts, *wanted.replaces):
            self._discard(self.globs, pattern, job.name)
        for expression in wanted.affinities:
            self._discard(self.affinities, expression.pattern, job.name)
        self.replacers -= bool(wanted.replaces)

    def _as_known(self, name: str, places: tuple[str, ...]) -> list[str]:
        """Return the places where the workload is with the requirements that it is known with."""
        other = self._placed_as.get(name, NO_JOBS)
        return [machine for machine in places if machine not in other]

    def _hold(self, job: Job | None, machine: str) -> None:
        if job is None:
            return
        wanted = job.requirements
        if wanted is NOTHING:
            return
        for pattern in wanted.conflicts:
            self._glob(self.globs, pattern).held.setdefault(machine, set()).add(job.name)
        for pattern in wanted.replaces:
            self._glob(self.globs, pattern).pushing.setdefault(machine, set()).add(job.name)
        self.replacers += bool(wanted.replaces)
        for dataset in wanted.datasets:
            self._datasets.setdefault(dataset, {}).setdefault(machine, set()).add(job.name)
        if wanted.memory or wanted.cpus or wanted.ports:
            self.spots[machine].hold(job.name, wanted, 1)

    def _release(self, job: Job | None, machine: str) -> None:
        if job is None or job.requirements is NOTHING:
            return
        wanted = job.requirements
        for pattern in (*wanted.conflicts, *wanted.replaces):
            glob = self.globs.get(pattern)
            if glob is not None:
                _remove(glob.held, machine, job.name)
                _remove(glob.pushing, machine, job.name)
                self._discard(self.globs, pattern)
        self.replacers -= bool(wanted.replaces)
        for dataset in wanted.datasets:
            _remove(self._datasets[dataset], machine, job.name)
            if not self._datasets[dataset]:
                del self._datasets[dataset]
        if wanted.memory or wanted.cpus or wanted.ports:
            self.spots[machine].hold(job.name, wanted, -1)

    def _discard(self, patterns: Globs, pattern: str, name: str = "") -> None:
        """Forget that the known workload `name` holds a pattern, and the pattern if nobody does."""
        glob = patterns.get(pattern)
        if glob is not None:
            glob.conflicting.discard(name)
            glob.replacing.discard(name)
            if not (glob.conflicting or glob.replacing or glob.held or glob.pushing):
                patterns.discard(glob)

    def _place_as(self, name: str, machine: str, job: Job | None) -> None:
        if job is not None:
            self._placed_as.setdefault(name, {})[machine] = job
            return
        here = self._placed_as.get(name)
        if here is not None:
            here.pop(machine, None)
            if not here:
                del self._placed_as[name]

    def _glob(self, patterns: Globs, pattern: str) -> Glob:
        """The pattern's entry; a new one is told of the placed workloads that it matches."""
        glob = patterns.get(pattern)
        if glob is not None:
            return glob
        glob = patterns.add(pattern)
        for name in self._placed(glob):
            if glob in patterns.matching(name):
                for machine in self.where[name]:
                    glob.match(machine, 1)
        return glob

    def _placed(self, glob: Glob) -> list[str]:
        """Placed units that the pattern may match."""
        if glob.prefix == glob.pattern:
            return [glob.pattern] if glob.pattern in self.where else []
        if self._names is None:
            self._names = SortedNames(self.where)
        return list(self._names.starting(glob.prefix))


def _remove(holders: dict[str, set[str]], machine: str, name: str) -> None:
    names = holders.get(machine)
    if names is not None:
        names.discard(name)
        if not names:
            del holders[machine]
