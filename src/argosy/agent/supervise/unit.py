"""One loaded unit in the supervisor's memory: its text understood, and how it looks from outside."""

from __future__ import annotations

import msgspec

from argosy.agent.supervise.jobs import DOWNWARDS, NOTHING, Links
from argosy.agent.supervise.saved import SavedUnit
from argosy.agent.supervise.states import AT_REST, Job, Pid, Run, Sub, active
from argosy.errors import InvalidUnit
from argosy.launches import joins
from argosy.model import Observed
from argosy.unit.names import is_template
from argosy.unit.parse import UnitFile
from argosy.unit.service import ServiceSpec, service
from argosy.unit.specifiers import Specifiers
from argosy.unit.text import unit_text
from argosy.unit.verify import unhonoured, unknown


class Text(msgspec.Struct, frozen=True):
    """A unit's text and what it means. `spec` is None where it cannot be run: `load` and `error` say why."""

    text: str
    hash: str
    spec: ServiceSpec | None = None
    load: str = "loaded"
    error: str = ""
    ignored: tuple[str, ...] = ()


def understand(name: str, text: str, specifiers: Specifiers) -> Text:
    """Never raises: what cannot be understood is a unit that cannot be started."""
    known = unit_text(text)
    file = known.file
    problem = str(known.unreadable) if known.unreadable is not None else _problem(name, file)
    if problem:
        return Text(text, known.hash, load="bad-setting", error=problem)
    try:
        spec = service(name, file, specifiers)
    except InvalidUnit as error:
        return Text(text, known.hash, load="bad-setting", error=str(error))
    return Text(text, known.hash, spec, ignored=tuple(map(str, (*unhonoured(file), *unknown(file)))))


def _problem(name: str, file: UnitFile) -> str:
    if not name.endswith(".service"):
        return f"{name}: the supervisor runs services only, not {name.rpartition('.')[2]} units; they want systemd"
    if is_template(name):
        return f"{name} is a template: start an instance of it"
    return "; ".join(map(str, file.errors[:5]))


class Unit:
    """`text` is the newest; `running` the older one that it was started with and is stopped by. `awaited` are processes that were told
    to end, by their pidfds."""

    def __init__(self, name: str, text: Text, run: Run | None = None) -> None:
        self.name = name
        self.text = text
        self.run = run or Run()
        self.running: Text | None = None
        self.leaving = False
        self.anew = False
        self.awaited: dict[Pid, int] = {}
        self.telling = 0

    @property
    def spec(self) -> ServiceSpec | None:
        """What it runs by."""
        return (self.running or self.text).spec

    @property
    def bare_spec(self) -> ServiceSpec:
        """The same, or what is enough to watch and stop it if that is lost."""
        return self.spec or ServiceSpec(self.name)

    @property
    def links(self) -> Links:
        spec = self.text.spec
        return NOTHING if spec is None else Links(spec.after, spec.requires, spec.binds_to, spec.part_of)

    @property
    def saved(self) -> SavedUnit:
        return SavedUnit(self.name, self.text.text, self.running.text if self.running else None, self.leaving)

    def belongs_to(self, launch: int) -> bool:
        """Whether what runs now becomes part of this launch, instead of being restarted for it."""
        run = self.run
        settled = run.job in (Job.NONE, Job.STARTING) and run.sub is not Sub.AUTO_RESTART and self.running is None
        return settled and joins(active(run.sub), run.launch, launch)

    @property
    def observed(self) -> Observed:
        run = self.run
        shown, sub = _shown(run)
        fresh = run.job in (Job.START, Job.RESTART, Job.RESTOPPING)  # what it was before is over, or about to be
        begins = fresh or run.job is Job.STARTING
        return Observed(
            name=self.name,
            hash=self.text.hash,
            launch=run.launch,
            load=self.text.load,
            active=shown,
            sub=sub,
            since=run.since,
            pid=run.main.pid if run.main and not fresh else 0,
            code=run.exit.status if run.exit and run.exit.kind == "exited" and not begins else None,
            result="success" if begins else run.result,
            restarts=run.restarts,
            started=run.started,
            error=self.text.error,
            invocation="" if fresh else run.invocation,
        )


def _shown(run: Run) -> tuple[str, str]:
    """A start that waits is activating, a stop that waits is deactivating: inactive and failed tell how the latest start ended."""
    if run.job in (Job.START, Job.STARTING) and run.sub in AT_REST:
        return "activating", Sub.START_PRE
    if run.job is Job.RESTART:
        return "activating", run.sub
    if run.job in DOWNWARDS and active(run.sub) != "deactivating" and run.sub not in AT_REST:
        return "deactivating", Sub.STOP
    return active(run.sub), run.sub
