"""fleet's description of its API, in Google's discovery format: GET /fleet/v1/discovery. Pure."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_STATES = {"type": "string", "enum": ["inactive", "loaded", "launched"]}
_TOKEN: dict[str, Any] = {"nextPageToken": {"type": "string", "location": "query"}}
_FILTER: dict[str, Any] = {
    **_TOKEN,
    "unitName": {"type": "string", "location": "query"},
    "machineID": {"type": "string", "location": "query"},
}
_NAME: dict[str, Any] = {"unitName": {"type": "string", "location": "path", "required": True}}


def discovery() -> dict[str, Any]:
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "fleet:v1",
        "name": "schema",
        "version": "v1",
        "title": "fleet API",
        "description": "",
        "documentationLink": "http://github.com/coreos/fleet",
        "protocol": "rest",
        "icons": {"x16": "", "x32": ""},
        "labels": [],
        "baseUrl": "$ENDPOINT/fleet/v1/",
        "basePath": "/fleet/v1/",
        "rootUrl": "$ENDPOINT/",
        "servicePath": "fleet/v1/",
        "batchPath": "batch",
        "parameters": {},
        "auth": {},
        "schemas": _schemas(),
        "resources": _resources(),
    }


def _schemas() -> dict[str, Any]:
    metadata = {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
    states = dict.fromkeys(("name", "hash", "machineID", "systemdLoadState", "systemdActiveState", "systemdSubState"), _TEXT)
    unit = {
        "name": _TEXT,
        "options": {"type": "array", "items": {"$ref": "UnitOption"}},
        "desiredState": _STATES,
        "currentState": _STATES,
        "machineID": {"type": "string", "required": True},
    }
    return {
        "Machine": _schema("Machine", {"id": _TEXT, "primaryIP": _TEXT, "metadata": metadata}),
        "MachinePage": _page("MachinePage", "machines", "Machine"),
        "UnitOption": _schema("UnitOption", dict.fromkeys(("section", "name", "value"), _TEXT)),
        "Unit": _schema("Unit", unit),
        "UnitPage": _page("UnitPage", "units", "Unit"),
        "UnitState": _schema("UnitState", states),
        "UnitStatePage": _page("UnitStatePage", "states", "UnitState"),
    }


def _resources() -> dict[str, Any]:
    machines = {"List": _method("Machine.List", "Retrieve a page of Machine objects.", "machines", "MachinePage", _TOKEN)}
    units = {
        "List": _method("Unit.List", "Retrieve a page of Unit objects.", "units", "UnitPage", _TOKEN),
        "Get": _method("Unit.Get", "Retrieve a single Unit object.", "units/{unitName}", "Unit", _NAME),
        "Delete": _method("Unit.Delete", "Delete the referenced Unit object.", "units/{unitName}", "", _NAME, verb="DELETE"),
        "Set": _method("Unit.Set", "Create or update a Unit.", "units/{unitName}", "", _NAME, verb="PUT", request="Unit"),
    }
    states = {
        "Get": _method("UnitState.Get", "Retrieve a page of a single UnitState object.", "state/{unitName}", "UnitState", _NAME),
        "List": _method("UnitState.List", "Retrieve a page of UnitState objects.", "state", "UnitStatePage", _FILTER),
    }
    return {"Machines": {"methods": machines}, "Units": {"methods": units}, "UnitState": {"methods": states}}


def _schema(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"id": kind, "type": "object", "properties": properties}


def _page(kind: str, field: str, entity: str) -> dict[str, Any]:
    return _schema(kind, {field: {"type": "array", "items": {"$ref": entity}}, "nextPageToken": _TEXT})


def _method(
    name: str, description: str, path: str, response: str, parameters: dict[str, Any], *, verb: str = "GET", request: str = ""
) -> dict[str, Any]:
    method: dict[str, Any] = {"id": f"fleet.{name}", "description": description, "httpMethod": verb, "path": path, "parameters": parameters}
    if parameters is _NAME:
        method["parameterOrder"] = ["unitName"]
    if request:
        method["request"] = {"$ref": request}
    if response:
        method["response"] = {"$ref": response}
    return method
