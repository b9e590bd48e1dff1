"""What our own API takes and answers. docs/api.md and the OpenAPI document are made of these.

Fields of an answer are left out when they are empty, zero or false, unless said otherwise. Times are Unix time in seconds.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from argosy.model import (
    Detail,
    ExcludedUpstream,
    LogLine,
    Machine,
    RefusedRoute,
    RolloutRules,
    RolloutState,
    RolloutStep,
    RolloutWish,
    RouterReport,
    ServedCertificate,
    Stage,
    Target,
    UnitState,
    Upstream,
)
from argosy.web.shapes import Fault

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=600)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

BATCH = 1000
"""Units that one batch may name."""


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a client wants of a unit; what is not said stays as it is.

    `text`: the unit file; without it, a new instance takes its template's. A text that means something else than the stored one needs
    `replace`. `restart`: start it anew even if it is launched. `revision`: only if the unit was last written at that one (0: only if
    there is none yet), so that of several clients that changed it at once exactly one wins.
    """

    text: str | None = None
    target: Target | None = None
    replace: bool = False
    restart: bool = False
    revision: Revision | None = None


class NamedWish(Wish, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A Wish in a batch."""

    name: Name


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many wishes at once; each succeeds or fails by itself."""

    units: Annotated[list[NamedWish], msgspec.Meta(max_length=BATCH)]


class Written(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a Wish. `changed` is false where everything already was as wished (nothing was written then). `index` is a revision
    that includes it: wait for what comes of it with GET /units?index=..., `launch` is the unit's launch now. `error` in a batch only."""

    name: str
    created: bool = False
    changed: bool = False
    target: Target = Target.INACTIVE
    launch: int = 0
    revision: int = 0
    index: int = 0
    error: Fault | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """In the order of the batch."""

    results: list[Written]
    index: int


class Deleted(msgspec.Struct, frozen=True):
    name: str
    index: int


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the engine put a unit, and why there. `finished`: a job that ended well and is not run again."""

    machine: str
    target: Target
    launch: int = 0
    reason: str = ""
    placed: float = 0.0
    finished: bool = False


class UnitView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A unit: as wanted, as placed, as it is. `target` is wanted, `current` is what it came to (for a global unit: the least of its
    machines). `hash` is fleet's SHA-1 of its options. `text` only where it was asked for. `error`: the stored text is not valid."""

    name: str
    target: Target
    current: Target = Target.INACTIVE
    launch: int = 0
    hash: str = ""
    description: str = ""
    everywhere: bool = False
    template: bool = False
    submitted: float = 0.0
    revision: int = 0
    text: str = ""
    error: str = ""
    places: list[Place] = []
    states: list[UnitState] = []


class UnitAnswer(msgspec.Struct, frozen=True):
    unit: UnitView
    index: int


class EncodedAnswer(msgspec.Struct, frozen=True):
    """A UnitAnswer whose unit is JSON already."""

    unit: msgspec.Raw
    index: int


class EncodedList(msgspec.Struct, frozen=True):
    """A UnitList whose units are JSON already."""

    units: list[msgspec.Raw]
    index: int


class UnitList(msgspec.Struct, frozen=True):
    """Sorted by name. `index`: wait for the next change with it."""

    units: list[UnitView]
    index: int


class RolloutUnitOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A unit of a new rollout, as it stands at `revision`. `text`: the place in `texts` of its new one; `restart`: the same text started
    anew; neither: it is only looked at."""

    name: Name
    revision: Revision
    text: Annotated[int, msgspec.Meta(ge=0, lt=2 * BATCH)] | None = None
    restart: bool = False


class RolloutOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A new rollout; the rules are those of RolloutRules. `templates` get their texts when all units are healthy (`revision` 0: created).
    Without a `name` it gets one."""

    units: Annotated[list[RolloutUnitOrder], msgspec.Meta(min_length=1, max_length=BATCH)]
    texts: Annotated[list[str], msgspec.Meta(max_length=2 * BATCH)] = []
    templates: Annotated[list[RolloutUnitOrder], msgspec.Meta(max_length=50)] = []
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=BATCH)] = 1
    timeout: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 300.0
    steady: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 2.0
    rollback: bool = False
    start_first: bool = False


class RolloutChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted of a rollout from now on."""

    wish: RolloutWish


class RolloutGroupView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Units that are changed together, named after the first. `reason`: how the group failed, or what it waits for. `changed`: this rollout
    has told it something."""

    name: str
    units: list[str]
    stage: Stage
    reason: str = ""
    changed: bool = False


class RolloutView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rollout and how far it is. `steps` are the newest, in a list of rollouts none. `templates`: those that were replaced. `ended`: when
    it came to its end."""

    name: str
    state: RolloutState
    reason: str = ""
    wish: RolloutWish = RolloutWish.RUN
    rules: RolloutRules = RolloutRules()
    created: float = 0.0
    ended: float = 0.0
    groups: list[RolloutGroupView] = []
    steps: list[RolloutStep] = []
    templates: list[str] = []


class RolloutAnswer(msgspec.Struct, frozen=True):
    rollout: RolloutView
    index: int


class RolloutList(msgspec.Struct, frozen=True):
    """The oldest first. `index`: wait for the next change with it."""

    rollouts: list[RolloutView]
    index: int


class StatusOn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A unit on one machine: `detail` and the last `lines` of its log, or `error`, why that machine could not be asked."""

    machine: str
    name: str = ""
    address: str = ""
    detail: Detail | None = None
    lines: list[LogLine] = []
    error: str = ""


class StatusAnswer(msgspec.Struct, frozen=True):
    """`machines` is empty for a unit that is nowhere."""

    unit: UnitView
    machines: list[StatusOn]
    index: int


class LocalStatus(msgspec.Struct, frozen=True):
    """What one machine says of a unit that is loaded there."""

    detail: Detail
    lines: list[LogLine]


class MachineView(Machine, frozen=True, omit_defaults=True, kw_only=True):
    """A machine that is alive: its own record, the operator's orders laid over it (`metadata` is the sum of both), how many units are
    placed there and how many are in which of systemd's active states. `leader`: its engine decides for the cluster. `problems` are what its
    agent reports; nothing new is placed there while one of them is `blocking`."""

    cordoned: bool = False
    draining: bool = False
    leader: bool = False
    units: int = 0
    active: dict[str, int] = msgspec.field(default_factory=dict)


class MachineList(msgspec.Struct, frozen=True):
    """Sorted by id."""

    machines: list[MachineView]
    index: int


class Ordered(msgspec.Struct, frozen=True):
    """The orders for a machine after a change."""

    machine: str
    cordoned: bool
    draining: bool
    index: int


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command to run on a machine: its words (no shell), and when to give up."""

    argv: Annotated[list[Annotated[str, msgspec.Meta(max_length=131_072)]], msgspec.Meta(min_length=1, max_length=1000)]
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of a command's output (`stream` is stdout or stderr; bytes that are not UTF-8 are replaced) or, as the last line of the
    stream, its exit `code` (128 + signal if it was killed) or `error`."""

    stream: str = ""
    data: str = ""
    code: int | None = None
    error: str = ""


class WhyOn(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `why` says of one machine: either the unit runs there, or `filter` refused it for `reason`."""

    machine: str
    name: str = ""
    placed: bool = False
    filter: str = ""
    reason: str = ""


class WhyAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a unit is where it is, or nowhere."""

    unit: str
    reason: str
    machines: list[WhyOn] = []
    index: int = 0


class RouterView(RouterReport, frozen=True, omit_defaults=True):
    """A router: its report, and what it serves (as in RouterDetail) when it was asked. `omitted` counts the upstreams of a standalone
    router, which cannot be asked. `unreachable`: why a machine could not be asked, "" if it was."""

    upstreams: tuple[Upstream, ...] = ()
    refused: tuple[RefusedRoute, ...] = ()
    hosts: dict[str, str] = msgspec.field(default_factory=dict)
    excluded: tuple[ExcludedUpstream, ...] = ()
    certificates: tuple[ServedCertificate, ...] = ()
    complaints: tuple[str, ...] = ()
    omitted: int = 0
    unreachable: str = ""


class RouteList(msgspec.Struct, frozen=True):
    """What each machine's router serves and refuses, by machine id; then standalone routers. Where there are any of these and
    no app is asked for, `announced` is what the keys below /services/web/ say, without that prefix (directories and values that are no text
    are left out)."""

    routers: list[RouterView]
    index: int
    announced: dict[str, str] = {}


class Version(msgspec.Struct, frozen=True):
    version: str
    machine: str
    python: str


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`healthy`: the store answers. `leader`: the machine whose engine decides, "" while there is none."""

    healthy: bool
    machine: str
    leader: str = ""
    error: str = ""
