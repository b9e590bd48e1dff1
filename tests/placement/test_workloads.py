"""The table of kinds: what each record wants, and what is not known."""

from __future__ import annotations

import msgspec

from argosy.model import Placement, Target, Unit, Workload
from argosy.placement.jobs import Reading
from argosy.placement.workloads import KINDS, body_hash, read
from argosy.requirements import Requirements
from argosy.state import keys
from argosy.unit.text import unit_text

TEXT = "[Service]\nExecStart=/bin/a\n[X-Fleet]\nGlobal=yes\n"


def test_a_unit_is_a_workload_whose_body_is_its_text() -> None:
    kind = KINDS["unit"]
    unit = Unit("a.service", TEXT, Target.LAUNCHED, 3, 17.0)
    assert kind.workload(unit) == Workload("a.service", TEXT, Target.LAUNCHED, 3, "unit")
    assert (kind.records.prefix, kind.records.type) == (keys.UNITS, Unit)
    assert read("unit", "a.service", TEXT).job.requirements == Requirements(everywhere=True)
    assert body_hash(Placement("a.service", "m1", TEXT, Target.LAUNCHED)) == unit_text(TEXT).hash


def test_an_unknown_kind_is_an_error_and_asks_for_nothing() -> None:
    found = read("dirigible", "a.service", TEXT)
    assert found == Reading(found.job, error="workloads of kind 'dirigible' are not known to this version")
    assert found.job.requirements == Requirements()
    assert body_hash(Placement("a.service", "m1", TEXT, Target.LAUNCHED, kind="dirigible")) == ""


def test_a_placement_that_names_no_kind_is_one_of_a_unit() -> None:
    record = b'{"unit":"a.service","machine":"m1","text":"","target":"launched","launch":1}'
    placement = msgspec.json.decode(record, type=Placement)
    assert placement.kind == "unit"
    assert msgspec.json.encode(placement) == record, "and is written as before"
