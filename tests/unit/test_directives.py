from __future__ import annotations

from pathlib import Path

import pytest

from argosy.unit.directives import HONOURED, KNOWN
from argosy.unit.options import ARGOSY_KEYS, FLEET_KEYS
from argosy.unit.parse import parse
from argosy.unit.verify import unhonoured

PAGE = (Path(__file__).parents[2] / "docs" / "unit.md").read_text()


def test_what_is_honoured_is_known_to_systemd() -> None:
    assert all(HONOURED[section] <= KNOWN[section] for section in HONOURED)
    assert {"ExecStart", "MemoryMax", "KillMode", "LimitNOFILE", "ProtectSystem"} <= KNOWN["Service"]
    assert "OnCalendar" in KNOWN["Timer"]


def test_what_is_honoured_is_not_complained_of() -> None:
    text = "".join(f"[{section}]\n" + "".join(f"{name}=x\n" for name in sorted(names)) for section, names in HONOURED.items())
    assert unhonoured(parse(text)) == ()


@pytest.mark.parametrize("name", sorted({*FLEET_KEYS, *ARGOSY_KEYS, *(name for names in HONOURED.values() for name in names)}))
def test_every_option_is_told_of(name: str) -> None:
    assert f"`{name}`" in PAGE, f"docs/unit.md does not tell of {name}="
