"""A root file system for `docker import`, made in memory from programs of this host and the libraries they are linked with.

No image registry is asked and nothing is installed: it is what tests, and engines that must show only that they run containers, need.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from argosy.errors import Unsuitable

PROGRAMS = ("sh", "sleep", "cat", "echo", "true", "false", "env", "id", "ls", "touch", "head")
LINKED = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)$")


def pack(programs: Sequence[str] = PROGRAMS, files: Mapping[str, bytes] | None = None) -> bytes:
    """A tar of the programs (in /bin, by their plain names), their libraries where the host has them, an empty /tmp, /etc/passwd with root
    and `nobody`, and `files` ({path without leading slash: content}). About 5 MB. Blocks for the length of `ldd`. The same input makes the
    same bytes. Raises Unsuitable for a program that the host lacks."""
    sources: dict[str, Path] = {}
    for program in programs:
        found = shutil.which(program)
        if found is None:
            raise Unsuitable(f"this host has no program {program!r} to pack into an image")
        sources[f"bin/{program}"] = Path(found)
        sources |= {path.lstrip("/"): Path(path) for path in _libraries(found)}
    texts = {
        "etc/passwd": b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    }
    texts |= dict(files or {})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(temporary)
        for name, path in sorted(sources.items()):
            _add(tar, name, path.read_bytes(), 0o755)
        for name, content in sorted(texts.items()):
            _add(tar, name, content, 0o644)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _libraries(program: str) -> Sequence[str]:
    """The files that the dynamic linker would load, itself included; none for a static program."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    found = (LINKED.search(line.strip()) for line in done.stdout.splitlines())
    return [match.group(1) for match in found if match]
