"""Which of nginx's modules there are. Blocks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from argosy.errors import Unsuitable
from argosy.programs import search_path

_PATH = re.compile(r"--modules-path=(\S+)")
REMEDY = "install nginx and its stream module (Debian: nginx-light and libnginx-mod-stream)"


def stream_module(program: str = "nginx") -> str:
    """The file to load for TCP, "" where nginx has it built in. Raises Unsuitable where it has none."""
    try:
        said = subprocess.run([program, "-V"], capture_output=True, timeout=15, env={"PATH": search_path()}, check=True).stderr.decode()
    except (OSError, subprocess.SubprocessError) as error:
        raise Unsuitable(f"{program} does not say what it can: {error}", remedy=REMEDY) from error
    return module_of(said)


def module_of(said: str) -> str:
    """The same, given what `nginx -V` says."""
    words = said.split()
    if "--with-stream" in words:
        return ""
    folder = _PATH.search(said)
    file = Path(folder.group(1) if folder else "/usr/lib/nginx/modules", "ngx_stream_module.so")
    if "--with-stream=dynamic" not in words or not file.exists():
        raise Unsuitable(f"this nginx cannot carry TCP or TLS: there is no {file}", remedy=REMEDY)
    return str(file)
