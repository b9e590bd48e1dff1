"""How Argosy is installed on a machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from argosy import install
from argosy.config import ApiSection, Config, ImagesSection, KeysSection, MachineSection, PathsSection, RuntimeSection, StoreSection, load

PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_the_service_restarts_the_agent_for_ever_and_leaves_what_it_started_alone() -> None:
    lines = install.agent_service("/etc/argosy/50%.toml").splitlines()
    assert f"ExecStart={install.program()} agent --config /etc/argosy/50%%.toml" in lines
    for line in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0", "KillMode=process", "WantedBy=multi-user.target"):
        assert line in lines


def test_the_program_is_that_of_this_installation() -> None:
    assert Path(install.program()).name == "argosy"
    assert Path(install.program()).is_absolute()


@given(PLAIN_TEXT, st.dictionaries(PLAIN_TEXT, PLAIN_TEXT, max_size=4), st.lists(PLAIN_TEXT, max_size=3), st.booleans())
def test_a_configuration_file_is_read_back_as_it_was(name: str, metadata: dict[str, str], listen: list[str], run: bool) -> None:
    config = Config(
        machine=MachineSection(id="0" * 32, name=name, metadata=metadata, ttl=2.5),
        paths=PathsSection("/state", "/run"),
        store=StoreSection("etcd:198.18.0.1:2379"),
        api=ApiSection(socket="/run/argosy.sock", exec=run),
        keys=KeysSection(tuple(listen)),
        runtime=RuntimeSection(kind="supervisor", environment=metadata),
        images=ImagesSection(storage="file:///state/images"),
    )
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write(install.config_file(config))
        file.flush()
        assert load(file.name, environ={}) == config


def test_defaults_are_not_written() -> None:
    assert install.config_file(Config()) == ""
