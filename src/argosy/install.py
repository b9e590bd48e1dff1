"""How Argosy is installed on a machine: its program, the texts of its systemd services, its configuration file. Operators print the
services with `--print-service`; lab machines are installed from the same texts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from argosy.config import Config
from argosy.unit.quadlet.engine import command_line, literal

CONFIG = "/etc/argosy/argosy.toml"
SERVICE = "argosy.service"


def program() -> str:
    """The absolute path of this installation's `argosy`."""
    return str(Path(sys.executable).parent / "argosy")


def agent_service(config_path: str = CONFIG) -> str:
    """Return the text of argosy.service. The agent says when it is ready; what it started (units by systemd, nginx) outlives it.

    It is not ordered after etcd or Docker: a member without a quorum, or a dockerd that hangs, must not keep a machine from joining.
    """
    settings = {"Type": "notify", "TimeoutStartSec": "infinity", "TimeoutStopSec": "20"}
    return _service("this machine's part of the cluster", "dbus.socket", ("agent", "--config", config_path), settings)


def load_balancer_service(words: Sequence[str], grace: float) -> str:
    """Return the text of argosy-entry.service, whose options are `words`. Stopping it lets requests finish for `grace` seconds; reloading
    it starts the program anew while nginx goes on."""
    settings = {"Type": "exec", "ExecReload": "/bin/kill -HUP $MAINPID", "TimeoutStopSec": f"{grace + 15:.0f}", "LimitNOFILE": "65536"}
    return _service("the entry in front of the cluster's machines", SERVICE, ("entry", *words), settings)


def _service(description: str, after: str, command: Sequence[str], settings: Mapping[str, str]) -> str:
    words = command_line([literal(word) for word in (program(), *command)])
    further = "".join(f"{name}={value}\n" for name, value in settings.items())
    return f"""\
[Unit]
Description=Argosy: {description}
Documentation=man:argosy(1)
Wants=network-online.target
After=network-online.target {after}
StartLimitIntervalSec=0

[Service]
ExecStart={words}
{further}Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""


def config_file(config: Config) -> str:
    """The configuration as TOML, only what differs from the defaults. `argosy.config.load` reads it back as the same configuration."""
    lines = []
    for section in msgspec.structs.fields(Config):
        values, defaults = getattr(config, section.name), getattr(Config(), section.name)
        changed = [field.name for field in msgspec.structs.fields(values) if getattr(values, field.name) != getattr(defaults, field.name)]
        if changed:
            lines.append(f"[{section.name}]")
            lines += [f"{name} = {_toml(getattr(values, name))}" for name in changed]
            lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """TOML's basic strings, numbers, truth values and arrays are JSON's; its inline tables are not."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
