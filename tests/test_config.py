"""Configuration: file, then variables, then flags; what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.config import Config, changed, load, parse_metadata
from argosy.errors import InvalidInput

HOME = {"HOME": "/home/ann"}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "argosy.toml"
    path.write_text(text)
    return str(path)


def test_with_nothing_given_everything_has_a_place_of_the_users_own() -> None:
    config = load(None, HOME, uid=1000)
    assert config.paths.state == "/home/ann/.local/state/argosy"
    assert config.paths.run == "/home/ann/.local/state/argosy/run"
    assert config.store.url == "sqlite:/home/ann/.local/state/argosy/store.sqlite"
    assert str(config.socket) == "/home/ann/.local/state/argosy/run/argosy.sock"


def test_root_gets_the_systems_places() -> None:
    config = load(None, {}, uid=0)
    assert (config.paths.state, config.paths.run) == ("/var/lib/argosy", "/run/argosy")


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[machine]\nname = "file"\naddress = "192.0.2.1"\n[machine.metadata]\nrole = "web"\n')
    config = load(path, {**HOME, "ARGOSY_MACHINE_NAME": "variable", "ARGOSY_MACHINE_TTL": "7.5"}, {"machine.name": "flag"}, uid=1000)
    assert (config.machine.name, config.machine.ttl, config.machine.address) == ("flag", 7.5, "192.0.2.1")
    assert config.machine.metadata == {"role": "web"}


def test_lists_and_metadata_are_written_with_commas_in_variables() -> None:
    config = load(None, {**HOME, "ARGOSY_KEYS_LISTEN": "127.0.0.1:4001, 172.17.0.1:4001", "ARGOSY_MACHINE_METADATA": "a=b,c=d"}, uid=1000)
    assert config.keys.listen == ("127.0.0.1:4001", "172.17.0.1:4001")
    assert config.machine.metadata == {"a": "b", "c": "d"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[machine]\nnmae = 'x'\n", "nmae"),
        ("[machines]\nid = 'x'\n", "machines"),
        ("[machine]\nttl = 'soon'\n", "ttl"),
        ("[machine]\nttl = 0.1\n", "ttl"),
        ("[runtime]\nkind = 'openrc'\n", "openrc"),
        ("[store]\nurl = 'redis:x'\n", "redis"),
        ("[router]\nenabled = 'maybe'\n", "maybe"),
        ("not toml", "TOML"),
        ("\x00", "TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        load(written(tmp_path, text), HOME, uid=1000)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml"):
        load(str(tmp_path / "nowhere.toml"), HOME, uid=1000)


def test_metadata_is_read_as_fleetd_does_the_last_of_a_repeated_key_wins() -> None:
    assert parse_metadata("a=b,c=d,a=e", "--metadata") == {"a": "e", "c": "d"}


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,c"])
def test_metadata_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="--metadata"):
        parse_metadata(text, "--metadata")


def test_settings_given_as_text_change_a_configuration() -> None:
    config = changed(Config(), {"router.enabled": "no", "machine.ttl": "7.5", "keys.listen": "127.0.0.1:4001,192.0.2.1:4001"})
    assert (config.router.enabled, config.machine.ttl) == ("no", 7.5)
    assert config.keys.listen == ("127.0.0.1:4001", "192.0.2.1:4001")
    assert config.api == Config().api


@pytest.mark.parametrize("name", ["router", "router.colour", "colour.router", "router.enabled.no"])
def test_settings_that_do_not_exist_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        changed(Config(), {name: "no"})


@pytest.mark.parametrize(("name", "value"), [("router.enabled", "never"), ("machine.ttl", "long"), ("machine.ttl", "0")])
def test_settings_with_a_wrong_value_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=name.partition(".")[2]):
        changed(Config(), {name: value})


def test_text_in_place_of_a_list_is_answered_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[api]\nlisten = "127.0.0.1:8700"\n')
    with pytest.raises(InvalidInput, match=r"\[api\] listen is a list") as caught:
        load(str(tmp_path / "a.toml"), {})
    assert caught.value.remedy == 'write listen = ["127.0.0.1:8700"]'
