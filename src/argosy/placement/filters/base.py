"""What a filter is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from enum import StrEnum

import msgspec

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.spot import Spot


class Depends(StrEnum):
    """What a filter's answer depends on, besides its question."""

    MACHINE = "the machine's own records"
    ITSELF = "whether the workload is on the machine already"
    OCCUPANTS = "what is on the machine; a refusal stands until something leaves or changes there"
    ANYTHING = "anything: it may change whenever a workload comes or leaves"


LASTING = (Depends.MACHINE, Depends.OCCUPANTS)
OTHERS = (Depends.OCCUPANTS, Depends.ANYTHING)


def nobody(cluster: Cluster, name: str) -> Iterable[str]:
    return ()


class Filter(msgspec.Struct, frozen=True):
    """Refuses machines to workloads. Only the first three fields must be given: such a filter is asked for each machine that is looked at.

    `refuses` is asked for one more copy of the workload on the machine, or, if `staying`, for the copy that is there; what the copy itself
    holds never counts against it. `reason` says in words why; it is called only after `refuses` was true.

    The rest makes searches fast and is derived from, never worked around:
    `field` is the field of Requirements that it is about: it refuses no machine to a workload where that is empty.
    `question` returns all that the answer depends on of the workload, None if the filter refuses no machine to it. Equal questions have
    equal answers on a machine where neither workload is. By default it is what the field holds.
    `candidates` returns the ids of the only machines that it may let pass, None for no such limit.
    `followers` returns the workloads to whom the answer may change when the named one comes or leaves, for a filter that depends on
    ANYTHING; without it everything that waits is looked at again.
    """

    name: str
    refuses: Callable[[Cluster, Job, Spot], bool]
    reason: Callable[[Cluster, Job, Spot], str]
    staying: bool = False
    depends: Depends = Depends.ANYTHING
    field: str = ""
    question: Callable[[Cluster, Job], Hashable | None] | None = None
    candidates: Callable[[Cluster, Job], Collection[str] | None] | None = None
    followers: Callable[[Cluster, str], Iterable[str]] | None = None
