"""docker, podman, skopeo and oras push to our registry and pull from it, as they come."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import oras.client  # type: ignore[import-untyped]
import oras.oci  # type: ignore[import-untyped]
import pytest
import pytest_asyncio

from argosy.lab import rootfs
from argosy.lab.dockerd import Dockerd, dockerd, obstacles
from tests.contracts.docker_contract import named, tiny_tar
from tests.images.clients import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, PASSWORD, USER, Cutter, House, Layout, needs, registry

needs_docker = pytest.mark.skipif(bool(obstacles()), reason=f"no Docker Engine can run here: {'; '.join(obstacles())}")
REFUSED = re.compile(r"no basic auth credentials|unauthorized|authentication required|denied", re.IGNORECASE)
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with registry(tmp_path_factory.mktemp("open")) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["basic", "bearer"])
async def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with registry(tmp_path_factory.mktemp("guarded"), challenge=request.param) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Dockerd]:
    """An engine with an image `tiny`."""
    async with dockerd() as engine:
        house = House(engine.folder, engine.environ)
        await house.good("docker", "import", "-", "tiny", stdin=await asyncio.to_thread(rootfs.pack))
        yield engine


@pytest.fixture
def docker(engine: Dockerd, tmp_path: Path) -> House:
    return House(tmp_path, {**engine.environ, "DOCKER_CONFIG": str(tmp_path)})


@pytest.fixture
def house() -> Iterator[House]:
    """Podman insists on short paths."""
    with tempfile.TemporaryDirectory(prefix="house-") as folder:
        yield House(Path(folder))


@pytest.fixture
async def layout(tmp_path: Path) -> tuple[str, list[str]]:
    """An image for two architectures: its reference for skopeo, the digests of both."""
    folder = tmp_path / "layout"

    def build() -> list[str]:
        made = Layout(folder)
        images = [made.image(tiny_tar(), architecture) for architecture in ("amd64", "arm64")]
        made.index("v1", images)
        return [one["digest"] for one in images]

    return f"oci:{folder}:v1", await asyncio.to_thread(build)


# docker


@needs_docker
async def test_docker_pushes_pulls_and_runs(docker: House, open_registry: str) -> None:
    name = f"{open_registry}/apps/{named('web')}"
    await docker.good("docker", "tag", "tiny", f"{name}:1")
    digest = (await docker.good("docker", "push", f"{name}:1")).rpartition("digest: ")[2].split()[0]
    await docker.good("docker", "rmi", f"{name}:1")
    await docker.good("docker", "pull", f"{name}:1")
    await docker.good("docker", "pull", f"{name}@{digest}")
    assert await docker.good("docker", "run", "--rm", "--network", "none", f"{name}@{digest}", "echo", "hello") == "hello"
    await docker.good("docker", "tag", "tiny", f"{name}:2")
    again = await docker.good("docker", "push", f"{name}:2")
    assert "Layer already exists" in again
    assert digest in again
    await docker.good("docker", "push", "--all-tags", name)
    await docker.good("docker", "rmi", "--force", f"{name}:1", f"{name}:2")
    await docker.good("docker", "pull", "--all-tags", name)
    assert set((await docker.good("docker", "images", "--format", "{{.Tag}}", name)).split()) >= {"1", "2"}


@needs_docker
async def test_docker_mounts_a_layer_from_another_repository(docker: House, open_registry: str) -> None:
    base, other = (f"{open_registry}/{named(word)}:1" for word in ("base", "other"))
    await docker.good("docker", "import", "-", base, stdin=tiny_tar())
    await docker.good("docker", "push", base)
    await docker.good("docker", "tag", base, other)
    assert "Mounted from base-" in await docker.good("docker", "push", other)


@needs_docker
async def test_docker_logs_in_and_only_then_may_push_and_pull(docker: House, guarded: str) -> None:
    name = f"{guarded}/{named('secret')}:1"
    await docker.good("docker", "tag", "tiny", name)
    assert REFUSED.search(await docker.bad("docker", "push", name))
    assert REFUSED.search(await docker.bad("docker", "login", "--username", USER, "--password", "wrong", guarded))
    login = ("docker", "login", "--username", USER, "--password-stdin", guarded)
    assert "Login Succeeded" in await docker.good(*login, stdin=PASSWORD.encode())
    await docker.good("docker", "push", name)
    await docker.good("docker", "rmi", name)
    await docker.good("docker", "pull", name)
    await docker.good("docker", "logout", guarded)
    assert REFUSED.search(await docker.bad("docker", "pull", name))


@needs_docker
async def test_docker_says_what_is_not_there(docker: House, open_registry: str) -> None:
    assert "manifest unknown" in await docker.bad("docker", "pull", f"{open_registry}/nothing:1")
    assert "manifest" in await docker.bad("docker", "pull", f"{open_registry}/nothing@sha256:{'0' * 64}")


@needs_docker
async def test_docker_goes_on_where_a_broken_pull_ended(docker: House, open_registry: str) -> None:
    size = 4 << 20
    name = named("big")
    tar = await asyncio.to_thread(rootfs.pack, ("true",), {"noise": os.urandom(size)})
    await docker.good("docker", "import", "-", f"{open_registry}/{name}:1", stdin=tar)
    await docker.good("docker", "push", f"{open_registry}/{name}:1")
    cutter = Cutter(open_registry, after=size // 2, times=1)
    async with cutter.open() as address:
        await docker.good("docker", "rmi", f"{open_registry}/{name}:1")
        await docker.good("docker", "pull", f"{address}/{name}:1")
    assert cutter.cuts == 1
    (line,) = [line for line in cutter.asked.split(b"\r\n") if line.startswith(b"Range: ")]
    assert int(line.split(b"=")[1].split(b"-")[0]) > 0


# podman


@needs("podman", "crun")
@pytest.mark.parametrize(("form", "media_type"), [("oci", OCI_CONFIG), ("v2s2", DOCKER_CONFIG)])
async def test_podman_pushes_and_pulls_in_both_formats(house: House, open_registry: str, form: str, media_type: str) -> None:
    name = f"{open_registry}/{named('web')}:1"
    await house.good(*house.podman, "import", "-", name, stdin=tiny_tar())
    id = await house.good(*house.podman, "inspect", "--format", "{{.Id}}", name)
    await house.good(*house.podman, "push", "--tls-verify=false", "--format", form, name)
    raw = json.loads(await house.good("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    assert raw["config"]["mediaType"] == media_type
    await house.good(*house.podman, "rmi", name)
    pulled = await house.good(*house.podman, "pull", "--quiet", "--tls-verify=false", name)
    assert pulled == id
    await house.good(*house.podman, "push", "--tls-verify=false", "--format", form, name, f"{name}-again")


@needs("podman", "crun")
async def test_podman_logs_in_and_only_then_may_push(house: House, guarded: str) -> None:
    name = f"{guarded}/{named('secret')}:1"
    await house.good(*house.podman, "import", "-", name, stdin=tiny_tar())
    assert REFUSED.search(await house.bad(*house.podman, "push", "--tls-verify=false", name))
    login = (*house.podman, "login", "--tls-verify=false", "--username", USER)
    assert "invalid username/password" in await house.bad(*login, "--password", "wrong", guarded)
    assert "Login Succeeded" in await house.good(*login, "--password-stdin", guarded, stdin=PASSWORD.encode())
    await house.good(*house.podman, "push", "--tls-verify=false", name)


@needs("podman", "crun")
async def test_podman_searches_nothing_and_lists_tags(house: House, open_registry: str) -> None:
    name = f"{open_registry}/{named('web')}"
    await house.good(*house.podman, "import", "-", f"{name}:1", stdin=tiny_tar())
    await house.good(*house.podman, "push", "--tls-verify=false", f"{name}:1")
    listed = await house.good(*house.podman, "search", "--list-tags", "--tls-verify=false", "--format", "{{.Tag}}", name)
    assert listed.split()[-1] == "1"


# skopeo


@needs("skopeo")
async def test_skopeo_copies_an_image_for_all_architectures_and_back(
    house: House, open_registry: str, layout: tuple[str, list[str]]
) -> None:
    source, digests = layout
    there, other = (f"docker://{open_registry}/{named('multi')}:v1" for _ in range(2))
    await house.good("skopeo", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", source, there)
    index = json.loads(await house.good("skopeo", "inspect", "--raw", "--tls-verify=false", there))
    assert index["mediaType"] == OCI_INDEX
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    assert [one["digest"] for one in index["manifests"]] == digests
    arm = json.loads(await house.good("skopeo", "--override-arch", "arm64", "inspect", "--tls-verify=false", there))
    assert arm["Architecture"] == "arm64"
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    await house.good("skopeo", "copy", "--all", *plain, there, other)
    assert json.loads(await house.good("skopeo", "inspect", "--raw", "--tls-verify=false", other)) == index
    await house.good("skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", other, f"oci:{house.folder}/back:v1")
    blobs = {path.name for path in await asyncio.to_thread(lambda: list((house.folder / "back" / "blobs" / "sha256").iterdir()))}
    assert {one["digest"].partition(":")[2] for one in index["manifests"]} <= blobs


@needs("skopeo")
async def test_skopeo_converts_between_both_formats(house: House, open_registry: str, layout: tuple[str, list[str]]) -> None:
    source, _ = layout
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    seen = []
    for form in ("oci", "v2s2", "oci"):
        there = f"docker://{open_registry}/{named(form)}:v1"
        await house.good("skopeo", "copy", "--format", form, *(plain if source.startswith("docker") else plain[1:]), source, there)
        seen.append(json.loads(await house.good("skopeo", "inspect", "--raw", "--tls-verify=false", there))["config"]["mediaType"])
        source = there
    assert seen == [OCI_CONFIG, DOCKER_CONFIG, OCI_CONFIG]


@needs("skopeo")
async def test_skopeo_lists_tags_and_deletes(house: House, open_registry: str, layout: tuple[str, list[str]]) -> None:
    source, _ = layout
    name = f"docker://{open_registry}/{named('web')}"
    for tag in ("v2", "v10", "latest"):
        await house.good("skopeo", "copy", "--dest-tls-verify=false", source, f"{name}:{tag}")
    listed = json.loads(await house.good("skopeo", "list-tags", "--tls-verify=false", name))
    assert sorted(listed["Tags"]) == ["latest", "v10", "v2"]
    await house.good("skopeo", "delete", "--tls-verify=false", f"{name}:v10")
    assert "manifest unknown" in await house.bad("skopeo", "inspect", "--tls-verify=false", f"{name}:latest")
    assert "Image may not exist" in await house.bad("skopeo", "delete", "--tls-verify=false", f"{name}:never")


@needs("skopeo")
async def test_skopeo_gives_its_credentials(house: House, guarded: str, layout: tuple[str, list[str]]) -> None:
    source, _ = layout
    there = f"docker://{guarded}/{named('secret')}:v1"
    assert REFUSED.search(await house.bad("skopeo", "copy", "--dest-tls-verify=false", source, there))
    await house.good("skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{PASSWORD}", source, there)
    await house.good("skopeo", "inspect", "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}", there)


@needs("skopeo")
async def test_skopeo_syncs_a_repository_to_a_folder(house: House, open_registry: str, layout: tuple[str, list[str]]) -> None:
    source, _ = layout
    name = named("web")
    for tag in ("v1", "v2"):
        await house.good("skopeo", "copy", "--all", "--dest-tls-verify=false", source, f"docker://{open_registry}/{name}:{tag}")
    sync = ("skopeo", "sync", "--all", "--src-tls-verify=false", "--src", "docker", "--dest", "dir")
    await house.good(*sync, f"{open_registry}/{name}", str(house.folder / "synced"))
    assert sorted(path.name for path in await asyncio.to_thread(lambda: list((house.folder / "synced").iterdir()))) == [
        f"{name}:v1",
        f"{name}:v2",
    ]


# oras


def orased(address: str) -> oras.client.OrasClient:
    return oras.client.OrasClient(hostname=address, insecure=True)


async def test_oras_pushes_and_pulls_files_and_lists_tags(tmp_path: Path, open_registry: str) -> None:
    name = f"{open_registry}/{named('artifact')}"

    def play() -> tuple[list[str], list[str]]:
        (tmp_path / "notes.txt").write_text("a cargo list")
        client = orased(open_registry)
        for tag in ("v1", "v2"):
            pushed = client.push(target=f"{name}:{tag}", files=[str(tmp_path / "notes.txt")], disable_path_validation=True, quiet=True)
            assert pushed.status_code == 201
        (tmp_path / "notes.txt").unlink()
        pulled = client.pull(target=f"{name}:v1", outdir=str(tmp_path / "out"))
        return pulled, list(client.get_tags(name))

    pulled, tags = await asyncio.to_thread(play)
    assert [Path(path).read_text() for path in pulled] == ["a cargo list"]
    assert tags == ["v1", "v2"]


async def test_oras_pushes_in_chunks(tmp_path: Path, open_registry: str) -> None:
    name, content = f"{open_registry}/{named('artifact')}:v1", os.urandom(300_000)

    def play() -> bytes:
        (tmp_path / "noise").write_bytes(content)
        client = orased(open_registry)
        client.push(
            target=name, files=[str(tmp_path / "noise")], disable_path_validation=True, do_chunked=True, chunk_size=65_536, quiet=True
        )
        (found,) = client.pull(target=name, outdir=str(tmp_path / "out"))
        return Path(found).read_bytes()

    assert await asyncio.to_thread(play) == content


async def test_oras_attaches_to_an_image_and_the_referrers_are_told(tmp_path: Path, open_registry: str) -> None:
    name = f"{open_registry}/{named('artifact')}"

    def play() -> list[str]:
        (tmp_path / "sbom.json").write_text("{}")
        client = orased(open_registry)
        files = {"files": [str(tmp_path / "sbom.json")], "disable_path_validation": True, "quiet": True}
        subject = client.push(target=f"{name}:v1", **files)
        digest = subject.headers["Docker-Content-Digest"]
        about = oras.oci.Subject(OCI_MANIFEST, digest, int(subject.request.headers["Content-Length"]))
        attached = client.push(target=f"{name}:sbom", subject=about, **files)
        url = f"http://{open_registry}/v2/{name.partition('/')[2]}/referrers/{digest}"
        listed = client.do_request(url).json()["manifests"]
        assert [one["digest"] for one in listed] == [attached.headers["Docker-Content-Digest"]]
        return [one["mediaType"] for one in listed]

    assert await asyncio.to_thread(play) == [OCI_MANIFEST]


async def test_oras_logs_in_and_only_then_may_push(tmp_path: Path, guarded: str) -> None:
    name = f"{guarded}/{named('artifact')}:v1"

    def push(password: str) -> int:
        client = oras.client.OrasClient(hostname=guarded, insecure=True, auth_backend="basic")
        client.auth.set_basic_auth(USER, password)
        (tmp_path / "notes.txt").write_text("a cargo list")
        return int(client.push(target=name, files=[str(tmp_path / "notes.txt")], disable_path_validation=True, quiet=True).status_code)

    def play() -> int:
        with pytest.raises(ValueError, match=r"UNAUTHORIZED"):
            push("wrong")
        return push(PASSWORD)

    assert await asyncio.to_thread(play) == 201
