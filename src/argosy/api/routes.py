"""The table of our own API: each row is a route, what it takes and what it answers. `own` serves it and `openapi` describes it, so that
the description cannot drift from the service."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from argosy.api import shapes
from argosy.api.shapes import Count, Name, Revision, Seconds
from argosy.model import LogLine, RouterDetail

PREFIX = "/argosy/v1"


class NoQuery(msgspec.Struct, frozen=True):
    pass


class Waiting(msgspec.Struct, frozen=True):
    """With `index` (from an earlier answer) and `wait` (seconds, at most 600) the answer comes when something has changed since that
    index, or when the wait is over."""

    index: Revision = 0
    wait: Seconds = 0.0


class UnitsQuery(Waiting, frozen=True):
    """`name` (repeatable) asks for these units only, `text` for their texts too."""

    name: list[Name] = []
    text: bool = False


AppName = Annotated[str, msgspec.Meta(max_length=256)]


class MachinesQuery(Waiting, frozen=True):
    """`brief`: without counts of units, so that neither the answer's cost nor the waiting depends on units."""

    brief: bool = False


class RoutesQuery(Waiting, frozen=True):
    """`brief`: only where each machine's router listens, without asking it what it serves and refuses. `app` (repeatable): only what
    concerns these; of routers that serve the same only one is asked then."""

    brief: bool = False
    app: list[AppName] = []


class LocalRoutesQuery(msgspec.Struct, frozen=True):
    """`app` (repeatable): only what concerns these."""

    app: list[AppName] = []


class DeleteQuery(msgspec.Struct, frozen=True):
    """`revision`: only if the unit was last written at that one."""

    revision: Revision | None = None


class StatusQuery(msgspec.Struct, frozen=True):
    """`lines`: how many of the last lines of its log."""

    lines: Count = 10


class LocalJournalQuery(msgspec.Struct, frozen=True):
    """The last `lines`; with `follow` then every new one until the client hangs up."""

    lines: Count = 10
    follow: bool = False


class JournalQuery(LocalJournalQuery, frozen=True):
    """`machine`: its id, a prefix of it or its name, for a unit that is on several."""

    machine: Annotated[str, msgspec.Meta(max_length=256)] = ""


class Route(NamedTuple):
    """`name` is the method of `own.Own` that serves it. `answers`: the body of each success, by status. `stream`: the answer is newline-
    delimited JSON of that shape. `fails`: statuses of the failures that belong to it, beside 400, 403, 500 and 503."""

    method: str
    path: str
    name: str
    summary: str
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    answers: dict[int, type[msgspec.Struct]]
    fails: tuple[int, ...] = ()
    stream: bool = False
    limit: int = 2 * 1024 * 1024


UNIT = "/units/{name}"
MACHINE = "/machines/{machine}"
ROLLOUT = "/rollouts/{rollout}"

ROUTES = (
    Route("GET", "/units", "list_units", "All units: wanted, placed, running", UnitsQuery, None, {200: shapes.UnitList}),
    Route(
        "POST",
        "/units",
        "post_units",
        f"Wish for many units at once (at most {shapes.BATCH})",
        NoQuery,
        shapes.Batch,
        {200: shapes.BatchAnswer},
        (408, 413, 415),
        limit=8 * 1024 * 1024,
    ),
    Route("GET", UNIT, "get_unit", "One unit with its text", Waiting, None, {200: shapes.UnitAnswer}, (404,)),
    Route(
        "PUT",
        UNIT,
        "put_unit",
        "Create, change, start, stop or replace a unit",
        NoQuery,
        shapes.Wish,
        {200: shapes.Written, 201: shapes.Written},
        (404, 408, 409, 413, 415),
    ),
    Route("DELETE", UNIT, "delete_unit", "Destroy a unit", DeleteQuery, None, {200: shapes.Deleted}, (404, 409)),
    Route("GET", UNIT + "/why", "why_unit", "Why a unit is where it is, or nowhere", NoQuery, None, {200: shapes.WhyAnswer}, (404,)),
    Route(
        "GET", UNIT + "/status", "unit_status", "What it does, asked of its machine", StatusQuery, None, {200: shapes.StatusAnswer}, (404,)
    ),
    Route("GET", UNIT + "/journal", "unit_journal", "Its log", JournalQuery, None, {200: LogLine}, (404,), stream=True),
    Route("GET", "/rollouts", "list_rollouts", "Rollouts under way, and the last that ended", Waiting, None, {200: shapes.RolloutList}),
    Route(
        "POST",
        "/rollouts",
        "post_rollout",
        "Change units a few at a time, the next when the last is healthy",
        NoQuery,
        shapes.RolloutOrder,
        {201: shapes.RolloutAnswer},
        (404, 408, 409, 413, 415),
        limit=8 * 1024 * 1024,
    ),
    Route("GET", ROLLOUT, "get_rollout", "One rollout with its steps", Waiting, None, {200: shapes.RolloutAnswer}, (404,)),
    Route(
        "PUT",
        ROLLOUT,
        "put_rollout",
        "Pause, resume or end a rollout",
        NoQuery,
        shapes.RolloutChange,
        {200: shapes.RolloutAnswer},
        (404, 408, 409, 413, 415),
    ),
    Route("GET", "/machines", "list_machines", "Machines alive", MachinesQuery, None, {200: shapes.MachineList}),
    Route("POST", MACHINE + "/cordon", "cordon", "Place nothing new there", NoQuery, None, {200: shapes.Ordered}, (404,)),
    Route("POST", MACHINE + "/uncordon", "uncordon", "Take cordon and drain back", NoQuery, None, {200: shapes.Ordered}, (404,)),
    Route("POST", MACHINE + "/drain", "drain", "Cordon it and move its units away", NoQuery, None, {200: shapes.Ordered}, (404,)),
    Route(
        "POST",
        MACHINE + "/exec",
        "exec_on",
        "Run a command there, where [api] exec allows it",
        NoQuery,
        shapes.Command,
        {200: shapes.Output},
        (404, 408, 413, 415),
        stream=True,
    ),
    Route("GET", "/routes", "list_routes", "What each machine's router serves and refuses", RoutesQuery, None, {200: shapes.RouteList}),
    Route("GET", "/version", "version", "Which argosy this is", NoQuery, None, {200: shapes.Version}),
    Route("GET", "/health", "health", "Whether this machine reaches the store", NoQuery, None, {200: shapes.Health, 503: shapes.Health}),
    Route(
        "GET",
        "/local" + UNIT + "/status",
        "local_status",
        "A unit on this machine only",
        StatusQuery,
        None,
        {200: shapes.LocalStatus},
        (404,),
    ),
    Route(
        "GET",
        "/local" + UNIT + "/journal",
        "local_journal",
        "The log of a unit on this machine only",
        LocalJournalQuery,
        None,
        {200: LogLine},
        (404,),
        stream=True,
    ),
    Route("GET", "/local/routes", "local_routes", "What this machine's router serves", LocalRoutesQuery, None, {200: RouterDetail}, (404,)),
    Route(
        "POST",
        "/local/exec",
        "local_exec",
        "Run a command on this machine",
        NoQuery,
        shapes.Command,
        {200: shapes.Output},
        (408, 413, 415),
        stream=True,
    ),
)
