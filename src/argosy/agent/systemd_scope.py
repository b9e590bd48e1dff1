"""Which systemd manager: the system's or a user's own. It loads nothing that speaks D-Bus, for hosts where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Scope = Literal["system", "user"]


def private_socket(scope: Scope) -> Path:
    """Where the manager listens: the system's, or that of this process's user."""
    if scope == "system":
        return Path("/run/systemd/private")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "systemd/private")


def is_there(scope: Scope) -> bool:
    """Whether there is such a systemd at all, be it well or not: for the system's see sd_booted(3)."""
    return os.path.isdir("/run/systemd/system") if scope == "system" else private_socket(scope).exists()
