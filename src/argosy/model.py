"""The vocabulary: what the rooms say to each other, as frozen values.

Everything here is a record: typed, validated when it is read from the store, plain JSON there. Times are Unix time in
seconds; sizes are bytes. Fields may be added with a default; none may change its meaning.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from argosy.requirements import Requirements as Requirements


class Target(StrEnum):
    """What a unit should come to (fleet's three states): known, loaded on a machine, or running there."""

    INACTIVE = "inactive"
    LOADED = "loaded"
    LAUNCHED = "launched"


class Unit(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A unit as its user wants it. Written by the api, and by the engine leader where a rollout changes it.

    `launch` counts how often it was told to start: agents start a unit once per launch, so a restart is a launch more.
    """

    name: str
    text: str
    target: Target = Target.INACTIVE
    launch: int = 0
    submitted: float = 0.0


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a machine is made of. `load` is the one-minute load average when the agent last looked."""

    cores: int = 0
    memory: int = 0
    memory_available: int = 0
    disk: int = 0
    disk_free: int = 0
    load: float = 0.0
    kernel: str = ""
    os: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem of a machine that an operator should know, in words. `blocking`: nothing new is placed on the machine while it lasts."""

    text: str
    blocking: bool = False


class Machine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine whose agent is alive. Written by that agent only, under its lease.

    `id` is 32 lower-case hexadecimal digits (the format of /etc/machine-id). `address` is where it is reached by others (no
    port). `door` is "host:port" of its mutual TLS API, "" where there is none. `runtime` is systemd, systemd-user or supervisor.
    """

    id: str
    address: str = ""
    name: str = ""
    metadata: dict[str, str] = {}
    facts: Facts = Facts()
    version: str = ""
    door: str = ""
    runtime: str = ""
    ttl: float = 0.0
    since: float = 0.0
    problems: tuple[Problem, ...] = ()


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator ordered about a machine; outlives the machine's lease. Written by the api only.

    `metadata` overrides the agent's own, key by key; a value of None removes the key.
    """

    cordoned: bool = False
    draining: bool = False
    metadata: dict[str, str | None] = {}


UNIT = "unit"
"""The kind of workload that is a unit file."""


class Workload(msgspec.Struct, frozen=True, gc=False):
    """What a desired record of any kind wants: a workload of this name and body that comes to `target`. `launch` as in Unit."""

    name: str
    body: str
    target: Target = Target.INACTIVE
    launch: int = 0
    kind: str = UNIT


class Placement(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A workload's place, with all that the machine's agent must know. Written by the engine leader only.

    `unit` is the workload's name and `text` its body, whose meaning only its `kind` knows. `finished`: a oneshot that has ended well in
    this launch; it is neither started again nor moved.
    """

    unit: str
    machine: str
    text: str
    target: Target
    launch: int = 0
    reason: str = ""
    placed: float = 0.0
    finished: bool = False
    kind: str = UNIT


class UnitState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a unit is doing on a machine. Written by that machine's agent only, under its lease.

    `launch` is the launch that holds: 0 once it was told to stop, so that what runs with launch 0 was started by systemd itself.
    `invocation` identifies the run that `pid`, `code` and `result` belong to ("": nothing has run in this launch).

    `load`, `active` and `sub` are systemd's words. `code` is the main process's exit status if it exited by itself, `result` is
    systemd's (success, exit-code, signal, timeout, ...), or `refused`: the machine could not do what was asked last, and `note` says why;
    `launch` is then the one that was refused. `failures` counts failed attempts of this launch in a row;
    `retry_at` is when the agent tries next, 0 if it does not. `note` says what is in the way, in words.
    """

    unit: str
    machine: str
    hash: str = ""
    launch: int = 0
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    since: float = 0.0
    pid: int = 0
    code: int | None = None
    result: str = "success"
    failures: int = 0
    retry_at: float = 0.0
    note: str = ""
    invocation: str = ""


class Observed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A loaded unit as the runtime sees it. The words are systemd's; see UnitState for the fields they share.

    `launch` is what the latest `start` was told, and 0 once `stop` or `kill` ended that launch or another text was loaded: a unit that
    runs with launch 0 was started by the engine behind the runtime (a timer, a socket, a unit that requires it, an operator). It survives
    the agent, not a reboot of the machine. `invocation` identifies the run that `pid`, `code` and `result` belong to ("": nothing has run
    in this launch); each start has its own, a restart by the engine as well.

    `restarts` counts restarts by the runtime itself since that start. `started` is when it last left inactive or failed (0: never, or
    forgotten). While a start is accepted and its job has not ended, the unit is shown as activating or deactivating with result success,
    so that inactive and failed always tell how the latest start ended; an accepted stop is shown as deactivating. A unit that was not run
    because one that it requires failed is inactive with result "dependency"; one whose conditions do not hold is inactive without an
    invocation. `error` says in words why `load` is not "loaded". `kind` is the kind of workload, set by the agent's table of runtimes.
    """

    name: str
    hash: str = ""
    launch: int = 0
    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    since: float = 0.0
    pid: int = 0
    code: int | None = None
    result: str = "success"
    restarts: int = 0
    started: float = 0.0
    error: str = ""
    invocation: str = ""
    kind: str = UNIT


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `status` shows beyond Observed. `processes` are (pid, command line) of all its processes; `memory` in bytes and `cpu` in
    seconds where the runtime knows them (0: it does not)."""

    observed: Observed
    description: str = ""
    path: str = ""
    main_command: str = ""
    processes: tuple[tuple[int, str], ...] = ()
    memory: int = 0
    cpu: float = 0.0


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a unit's output: Unix time, text without its newline, and who wrote it (program name and pid, 0 if unknown). `error`: the
    last line of a stream that broke off, and why."""

    time: float = 0.0
    text: str = ""
    source: str = ""
    pid: int = 0
    error: str = ""


class Leader(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who leads the engine, under its lease, and the strategy by which it places."""

    machine: str
    since: float
    strategy: str = "spread"


class ProbeTarget(msgspec.Struct, frozen=True):
    """A machine to probe. `door` is "host:port" of its mutual TLS API."""

    machine: str
    door: str


class Probes(msgspec.Struct, frozen=True):
    """The machines that one machine probes. Written by the engine leader only."""

    machine: str
    targets: tuple[ProbeTarget, ...] = ()


class Silence(msgspec.Struct, frozen=True):
    """An observer's report that a machine, which it has reached before, does not answer at all. Written by the observer's agent only, under
    its lease, and deleted when the machine answers again. A report of a machine about itself objects: it still reaches the store."""

    machine: str
    observer: str
    since: float = 0.0


class RolloutWish(StrEnum):
    """What the operator wants of a rollout: go on; begin nothing new; end it where it is; end it and change back what it has changed."""

    RUN = "run"
    PAUSE = "pause"
    ABORT = "abort"
    ROLLBACK = "rollback"


class RolloutRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """`parallel`: groups that may be unhealthy at once. `timeout`: seconds without progress after which a group has failed. `steady`:
    seconds that a group must be healthy before the next one is changed. `rollback`: change back what was changed when a group fails.
    `start_first`: where another machine fits, the new copy is healthy there before the old one goes; otherwise in place."""

    parallel: int = 1
    timeout: float = 300.0
    steady: float = 2.0
    rollback: bool = False
    start_first: bool = False


class RolloutUnit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One unit of a rollout. `text` and `before` are places in the request's `texts` (None for `text`: it keeps its text). `revision` is
    the unit's when the rollout was asked for (0: it does not exist); it must stand there when its turn comes."""

    name: str
    revision: int
    before: int = 0
    text: int | None = None
    restart: bool = False

    @property
    def changes(self) -> bool:
        return self.text is not None or self.restart


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """The request of a rollout. Written by the api only; the engine leader removes it some time after it has ended.

    Units without a change are only looked at: they must be healthy too. `texts` holds each text once. `templates` get their text when all
    units are healthy."""

    name: str
    units: tuple[RolloutUnit, ...]
    texts: tuple[str, ...] = ()
    templates: tuple[RolloutUnit, ...] = ()
    rules: RolloutRules = RolloutRules()
    wish: RolloutWish = RolloutWish.RUN
    created: float = 0.0


class Stage(StrEnum):
    """How far one group of a rollout has come."""

    WAITING = "waiting"
    CHANGING = "changing"
    READY = "ready"
    SKIPPED = "skipped"
    FAILED = "failed"
    RESTORING = "restoring"
    RESTORED = "restored"
    LOST = "lost"


class RolloutGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """Units that are changed together, named after the first, and how far they are. `told`: when they were last changed. The rest is what
    a new leader needs: `launches` that the units must come to and `previous` ones, the runs of followers that were active `before` (unit →
    machine → invocation), units that were `nowhere`, `routes` that were served, units whose new copy comes up `beside` the old one, and
    whether the old one has been `released`."""

    name: str
    units: tuple[str, ...] = ()
    stage: Stage = Stage.WAITING
    reason: str = ""
    failure: str = ""
    touched: bool = False
    told: float = 0.0
    launches: dict[str, int] = {}
    previous: dict[str, int] = {}
    before: dict[str, dict[str, str]] = {}
    nowhere: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    beside: tuple[str, ...] = ()
    released: bool = False


class RolloutStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a rollout did or saw, and why; `number` counts from 1."""

    number: int
    at: float
    text: str


class RolloutState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"


class RolloutProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a rollout is. Written by the engine leader only, in one commit with what it tells the units. `steps` are the newest.
    `created` is the request's, `ended` when it came to its end (0: it has not). `templates`: those that were replaced."""

    name: str
    created: float = 0.0
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""
    groups: tuple[RolloutGroup, ...] = ()
    steps: tuple[RolloutStep, ...] = ()
    templates: tuple[str, ...] = ()
    ended: float = 0.0


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user's key (etcd v2 keys door, later Consul's KV). A value that is not UTF-8 is kept as base64 (`binary`).

    `expires` is when it ends if nobody refreshes it (Unix time, 0: never): for answers to clients; the end itself is the lease's work.
    `action` is what wrote it, in etcd v2's words ("" for a directory that was made on the way to something else), `refresh` says that only
    its time was renewed. `created` and `modified` are etcd v2's indexes where they are not the revision of this record (0: they are).
    """

    value: str = ""
    directory: bool = False
    binary: bool = False
    ttl: int = 0
    expires: float = 0.0
    flags: int = 0
    action: str = "set"
    refresh: bool = False
    created: int = 0
    modified: int = 0


class Upstream(msgspec.Struct, frozen=True, omit_defaults=True):
    """One backend of an app that a router serves: where, under which instance's name, since when."""

    app: str
    instance: str
    address: str
    since: float = 0.0


class RefusedRoute(msgspec.Struct, frozen=True):
    """A key that a router will not serve, and the rule it breaks."""

    key: str
    reason: str


class ServedCertificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate that a router serves: the name of its files, the host names in it, and when it ends (Unix time)."""

    name: str
    names: tuple[str, ...]
    until: float


class ExcludedUpstream(msgspec.Struct, frozen=True):
    """A backend that a router asks last, because connections to it fail: which, why, since when."""

    app: str
    instance: str
    address: str
    reason: str
    since: float


class RouterDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that one router serves. It stays on the router's machine, which is asked for it: it grows with the number of routes.

    `hosts` are the host names that apps answer to. `certificates` are those for TLS, the default first, and `complaints` what is wrong
    with any.
    """

    upstreams: tuple[Upstream, ...] = ()
    refused: tuple[RefusedRoute, ...] = ()
    hosts: dict[str, str] = {}
    excluded: tuple[ExcludedUpstream, ...] = ()
    certificates: tuple[ServedCertificate, ...] = ()
    complaints: tuple[str, ...] = ()


class RouterReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a machine's router serves, and how much. Written by that router only, under a lease, at each change: so its size does not
    depend on what is served. The whole is `RouterDetail`.

    `routes`, `refusing` and `excluding` count upstreams, refused keys and excluded upstreams; `digest` is equal for two routers that
    serve the same (see router.served). `error` is nginx's reason when it refused the newest configuration, "" when the newest is being
    served. `listen` and `tls_listen` are where it listens, in nginx's words (0.0.0.0:80): load balancers read them. `proxy_protocol`: what
    comes to its `tls_listen` begins with a PROXY line. `domain` is what its apps' host names end in. A `standalone` router runs without an
    agent and cannot be asked for details: `machine` is then its host name and `address` its machine's, as far as it knows.
    """

    machine: str
    since: float = 0.0
    error: str = ""
    routes: int = 0
    refusing: int = 0
    excluding: int = 0
    digest: str = ""
    listen: tuple[str, ...] = ()
    tls_listen: tuple[str, ...] = ()
    proxy_protocol: bool = False
    domain: str = ""
    address: str = ""
    standalone: bool = False


class Job(msgspec.Struct, frozen=True, gc=False):
    """What placement must know of a workload: its name and requirements, without its body."""

    name: str
    requirements: Requirements


def blocked_by(machine: Machine) -> str:
    """Return the problems that forbid new placements on the machine, in words; "" if there are none."""
    return "; ".join(problem.text for problem in machine.problems if problem.blocking)


def with_orders(machine: Machine, order: Order | None) -> Machine:
    """The machine with the operator's metadata laid over its own: a value of None takes a key away."""
    if order is None or not order.metadata:
        return machine
    merged: dict[str, str | None] = {**machine.metadata, **order.metadata}
    return msgspec.structs.replace(machine, metadata={key: value for key, value in merged.items() if value is not None})
