"""How Argosy is installed on a machine: the service's text and the configuration file. A real installation uses the same (see
`argosy agent --print-service`); the lab only fills in its own values."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from argosy.config import Config

CONFIG = "/etc/argosy/argosy.toml"
SERVICE = "argosy.service"


def program() -> str:
    """The absolute path of this installation's `argosy`."""
    return str(Path(sys.executable).parent / "argosy")


def service_file(program: str, config_path: str = CONFIG) -> str:
    """The text of argosy.service. The agent says when it is ready; what it started (units by systemd, nginx) outlives it.

    It is not ordered after etcd or Docker: a member without a quorum, or a dockerd that hangs, must not keep a machine from joining.
    """
    return f"""\
[Unit]
Description=Argosy: this machine's part of the cluster
Documentation=man:argosy(1)
Wants=network-online.target
After=network-online.target dbus.socket
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} agent --config {config_path}
Restart=always
RestartSec=1
TimeoutStartSec=infinity
TimeoutStopSec=20
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
