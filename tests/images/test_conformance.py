"""The conformance suite of the OCI distribution specification, against this registry: every applicable case passes.

Set OCI_CONFORMANCE to its program (go build in the specification's conformance folder). The other tests of this folder hold what matters of
it as tables that always run.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from argosy.images.storage import Storage
from tests.images.house import client_of

PROGRAM = os.environ.get("OCI_CONFORMANCE", "")
EVERYTHING = {
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
}
"""What the suite leaves out unless it is asked for."""

FEWEST = 600
"""Cases that there are at least: a suite that could not begin passes nothing."""


@pytest.mark.skipif(not PROGRAM, reason="OCI_CONFORMANCE does not name the program of the OCI conformance suite")
@pytest.mark.parametrize("version", ["1.1", "dev"])
async def test_every_case_of_the_conformance_suite_passes(storage: Storage, tmp_path: Path, version: str) -> None:
    async with client_of(storage) as client:
        where = {"OCI_REGISTRY": f"127.0.0.1:{client.port}", "OCI_TLS": "disabled", "OCI_VERSION": version}
        running = await asyncio.create_subprocess_exec(
            PROGRAM,
            cwd=tmp_path,
            env={**os.environ, **where, **EVERYTHING, "OCI_RESULTS_DIR": str(tmp_path / "results")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await running.communicate()
    results = await asyncio.to_thread(ElementTree.parse, tmp_path / "results" / "junit.xml")
    cases = [(case.get("name"), case.get("status")) for case in results.iter("testcase")]
    assert [case for case in cases if case[1] not in ("passed", "disabled")] == [], output.decode()[-2000:]
    assert sum(status == "passed" for _, status in cases) >= FEWEST
    assert running.returncode == 0, output.decode()[-2000:]
