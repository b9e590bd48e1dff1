"""The OpenAPI 3.1 document of our own API, made of the table of routes and the shapes. Pure."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from argosy import __version__
from argosy.api.routes import PREFIX, ROUTES, NoQuery, Route
from argosy.web.shapes import Failure

REF = "#/components/schemas/{name}"

FAILURES = {
    400: "what was sent breaks a rule",
    403: "the asker may not do that",
    404: "there is no such unit, machine or rollout",
    408: "the body took too long to arrive",
    409: "somebody was faster, the unit exists with another text, or another rollout has it",
    413: "the body is too large",
    415: "the body is not called JSON",
    500: "the machine cannot do that, or whatever runs units failed",
    503: "the store cannot be reached: ask again",
}
PATTERNS = {
    "name": r"^[A-Za-z0-9:_][A-Za-z0-9:_.\\-]*(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|timer|path|target)$",
    "machine": "^[^/]+$",
    "rollout": r"^[A-Za-z0-9][A-Za-z0-9_.@:\-]*$",
}
"""Of the words in paths. Units of other types are taken too, as long as they have no instances."""

ALWAYS = (400, 403, 500, 503)


@cache
def document() -> bytes:
    """UTF-8 JSON."""
    kinds = {kind for route in ROUTES for kind in (route.body, *route.answers.values()) if kind is not None}
    _, components = msgspec.json.schema_components([*sorted(kinds, key=lambda kind: kind.__name__), Failure], ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Argosy", "version": __version__, "description": "Units, rollouts, machines and routes of one cluster."},
            "paths": paths,
            "components": {"schemas": components},
        }
    )


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "responses": _responses(route)}
    if parameters := [*_path_parameters(route.path), *_query_parameters(route.query)]:
        operation["parameters"] = parameters
    if route.query is not NoQuery and route.query.__doc__:
        operation["description"] = " ".join(route.query.__doc__.split())
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.body)}}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, kind in route.answers.items():
        what = {"application/x-ndjson": {"schema": {"type": "string"}}} if route.stream else {"application/json": {"schema": _ref(kind)}}
        description = f"lines of JSON, each a {kind.__name__}" if route.stream else _first_line(kind)
        found[str(status)] = {"description": description, "content": what}
    for status in sorted({*ALWAYS, *route.fails} - set(route.answers)):
        found[str(status)] = {"description": FAILURES[status], "content": {"application/json": {"schema": _ref(Failure)}}}
    return found


def _first_line(kind: type) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    meaning = {"name": "the unit's name", "machine": "its id, a prefix of it, or its name", "rollout": "the rollout's name"}
    words = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": word,
            "in": "path",
            "required": True,
            "description": meaning[word],
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": PATTERNS[word]},
        }
        for word in words
    ]


def _query_parameters(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    properties = msgspec.json.schema(query)["$defs"][query.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}
