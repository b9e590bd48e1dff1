"""The OpenAPI document: it describes every route, and schemathesis finds no answer that it does not describe."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from argosy.api import own, shapes
from argosy.api.openapi import FAILURES, document
from argosy.api.routes import PREFIX, ROUTES, Route
from tests.api.house import M2, a_house
from tests.api.test_peers import Agent

DOCUMENT = msgspec.json.decode(document())
CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            "negative_data_rejection": {"expected-statuses": ["4xx"]},
            # what a unit file may say, and which wishes go together, no schema tells; who may run commands neither
            "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "403", "404", "409", "413"]},
        }
    }
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
Case = schemathesis.Case[Any]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An api in a thread of its own, with something in it. Its plain TCP door, which runs no commands."""
    folder = tmp_path_factory.mktemp("openapi")
    open_now = threading.Event()
    found: list[str] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def scene() -> None:
        async with a_house(folder, inspector=Agent("m1", endless=False)) as house:
            await house.machine(M2)
            await house.submit("a.service", target="launched")
            await house.submit("a@.service")
            await house.obey("a.service")
            found.append(f"http://{house.address('tcp')}")
            open_now.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(scene()))
    thread.start()
    assert open_now.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


def _patient(case: Case) -> Case:
    """Nobody has 600 seconds."""
    if "wait" in case.query:
        case.query["wait"] = case.query["wait"] if not _number(case.query["wait"]) else 0.001
    return case


def _number(value: Any) -> bool:
    try:
        return 0 < float(value) <= 600
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize("mode", list(GenerationMode), ids=[mode.name for mode in GenerationMode])
@pytest.mark.parametrize("route", ROUTES, ids=[f"{route.method} {route.path}" for route in ROUTES])
def test_answers_are_as_described(address: str, route: Route, mode: GenerationMode) -> None:
    operation = SCHEMA[PREFIX + route.path][route.method]
    if mode is GenerationMode.NEGATIVE and not (route.body or operation.query):
        operation = SCHEMA[PREFIX + "/units"]["GET"]  # nothing can be wrong in a request without parameters

    @settings(
        max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def conform(case: Case) -> None:
        _patient(case).call_and_validate(base_url=address)

    conform()


def test_every_route_is_described_and_served() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(route.method, PREFIX + route.path) for route in ROUTES}
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        assert callable(getattr(own.Own, route.name))
        assert set(route.fails) <= set(FAILURES)


def test_the_page_tells_of_every_route_and_of_every_field_of_a_wish() -> None:
    page = Path("docs/api.md").read_text()
    for route in ROUTES:
        if route.path.startswith("/local"):
            continue
        last = re.sub(r"\{.*?\}", "", route.path).rstrip("/").rpartition("/")[2]
        assert last in page, route.path
    for field in msgspec.structs.fields(shapes.Wish):
        assert f"`{field.name}`" in page or f"{field.name}?" in page, field.name


def test_the_document_is_served_and_names_its_shapes(address: str) -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    schemas = DOCUMENT["components"]["schemas"]
    assert {"Wish", "Written", "UnitView", "MachineView", "Failure"} <= set(schemas)
    assert schemas["Wish"]["additionalProperties"] is False
