"""The client of a real Docker Engine, or of Podman's service that speaks its API: `base.DockerEngine` over a unix socket, TCP or TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from argosy.docker.base import (
    MAX_OUTPUT,
    Anew,
    Auth,
    Change,
    Executed,
    Filters,
    Json,
    Output,
    Progress,
    Tar,
    Version,
    bad_name,
    bad_reference,
    split_reference,
)
from argosy.docker.hijack import hijacked
from argosy.docker.listen import Feed, listen
from argosy.docker.streams import Lines, Pieces, frames
from argosy.docker.wire import Wire, filters_text
from argosy.errors import DockerUnavailable, InvalidInput, NotFound, Refused, RuntimeFailed, Unsuitable

DEFAULT_GRACE = 10


class DockerClient:
    """One engine. Nothing is connected until something is asked. `timeout`: seconds that a plain question may take."""

    def __init__(self, url: str = "unix:///var/run/docker.sock", *, tls: ssl.SSLContext | None = None, timeout: float = 60.0) -> None:
        self._wire = Wire(url, tls=tls, timeout=timeout)
        self._listening: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return self._wire.url

    async def version(self) -> Version:
        return await self._wire.negotiate()

    async def info(self) -> Json:
        return _object(await self._wire.call("ask the Docker Engine about itself", "GET", "info"))

    async def containers(self, *, all: bool = False, filters: Filters | None = None) -> list[Json]:
        params = {"all": "1" if all else "0", **filters_text(filters)}
        return _objects(await self._wire.call("list containers", "GET", "containers/json", params=params))

    async def container(self, name: str) -> Json:
        return _object(await self._wire.call(f"inspect container {name}", "GET", f"{_container(name)}/json"))

    async def create(self, config: Json, *, name: str = "", platform: str = "") -> str:
        params = {"name": _checked(name)} if name else {}
        if platform:
            params["platform"] = platform
        what = f"create container {name or 'of ' + str(config.get('Image'))}"
        return str(_object(await self._wire.call(what, "POST", "containers/create", params=params, body=config)).get("Id", ""))

    async def start(self, name: str) -> None:
        await self._wire.call(f"start container {name}", "POST", f"{_container(name)}/start")

    async def stop(self, name: str, *, grace: int | None = None) -> None:
        path, what = _container(name), f"stop container {name}"
        if grace is None:
            said = ((await self.container(name)).get("Config") or {}).get("StopTimeout")
            grace = DEFAULT_GRACE if said is None else max(-1, int(said))  # -1: it is to be waited for, however long it takes
        else:
            grace = max(0, grace)  # an engine takes a negative time for "for ever"
        patience = self._wire.timeout + grace if grace >= 0 else float("inf")
        await self._wire.call(what, "POST", f"{path}/stop", params={"t": str(grace)}, timeout=patience)

    async def kill(self, name: str, signal: str = "SIGKILL") -> None:
        await self._wire.call(f"kill container {name}", "POST", f"{_container(name)}/kill", params={"signal": signal})

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        params = {"force": str(int(force)), "v": str(int(volumes))}
        await self._wire.call(f"remove container {name}", "DELETE", _container(name), params=params)

    async def wait(self, name: str) -> int:
        what = f"wait for container {name}"
        found = _object(await self._wire.call(what, "POST", f"{_container(name)}/wait", timeout=float("inf")))
        error = (found.get("Error") or {}).get("Message")
        if error:
            raise RuntimeFailed(f"cannot {what}: {error}")
        return int(found.get("StatusCode", -1))

    @contextlib.asynccontextmanager
    async def logs(
        self, name: str, *, follow: bool = False, last: int | None = None, since: int = 0
    ) -> AsyncGenerator[AsyncIterator[Output], None]:
        params = {
            "stdout": "1",
            "stderr": "1",
            "follow": str(int(follow)),
            "tail": "all" if last is None else str(last),
            "since": str(since),
        }
        path, what = _container(name), f"read what container {name} wrote"
        terminal = bool((await self.container(name)).get("Config", {}).get("Tty"))
        async with (
            self._wire.open(what, "GET", f"{path}/logs", params=params, timeout=self._wire.timeout) as answer,
            contextlib.aclosing(frames(answer, terminal=terminal)) as outputs,
        ):
            yield outputs

    async def execute(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        user: str = "",
        folder: str = "",
    ) -> Executed:
        what = f"run {argv[0] if argv else 'nothing'} in container {name}"
        if stdin and self._wire.where.secure:
            raise Unsuitable(f"cannot {what} with input over TLS: it has no half-closed connections", remedy="give it as an argument")
        body = {
            "Cmd": list(argv), "AttachStdin": bool(stdin), "AttachStdout": True, "AttachStderr": True, "Tty": False,
            "Env": [f"{key}={value}" for key, value in (environ or {}).items()], "User": user, "WorkingDir": folder,
        }  # fmt: skip
        made = str(_object(await self._wire.call(what, "POST", f"{_container(name)}/exec", body=body)).get("Id", ""))
        kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        path = f"/v{(await self._wire.negotiate()).api}/exec/{quote(made, safe='')}/start"
        async with hijacked(self._wire.where, self._wire.tls, what, path, {"Detach": False, "Tty": False}) as (reader, writer):
            feeding = asyncio.create_task(_feed(writer, stdin))
            try:
                async for output in frames(reader, terminal=False):
                    kept[output.stream] += output.data[: MAX_OUTPUT - len(kept[output.stream])]
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
        return Executed(await self._exit_code(what, made), bytes(kept["stdout"]), bytes(kept["stderr"]))

    async def _exit_code(self, what: str, made: str) -> int:
        """Of a program whose output has ended: the engine hears of its end a moment later."""
        for delay in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
            await asyncio.sleep(delay)
            found = _object(await self._wire.call(what, "GET", f"exec/{quote(made, safe='')}/json"))
            if not found.get("Running") and found.get("ExitCode") is not None:
                return int(found["ExitCode"])
        raise DockerUnavailable(f"cannot {what}: the Docker Engine ended the connection before the program did")

    async def images(self, *, filters: Filters | None = None) -> list[Json]:
        return _objects(await self._wire.call("list images", "GET", "images/json", params=filters_text(filters)))

    async def image(self, name: str) -> Json:
        return _object(await self._wire.call(f"inspect image {name}", "GET", f"{_image(name)}/json"))

    async def pull(
        self, name: str, *, auth: Auth | None = None, platform: str = "", progress: Callable[[Progress], None] | None = None
    ) -> str:
        _image(name)
        repository, tag = split_reference(name)
        params = {"fromImage": repository, "tag": tag, **({"platform": platform} if platform else {})}
        what = f"pull {name}"
        try:
            async with self._wire.open(what, "POST", "images/create", params=params, headers=_auth(auth, repository)) as answer:
                async for line in Lines(answer):
                    _report(what, line, progress)
        except RuntimeFailed as error:  # a registry's refusal comes as the engine's failure, if it comes before the first progress
            raise _failed(error.message, error.message.lower()) from error
        separator = "@" if ":" in tag else ":"
        return str((await self.image(f"{repository}{separator}{tag}"))["Id"])

    async def push(self, name: str, *, auth: Auth | None = None, progress: Callable[[Progress], None] | None = None) -> str:
        _image(name)
        repository, tag = split_reference(name)
        what, digest = f"push {name}", ""
        path, headers = f"{_image(repository)}/push", _auth(auth, repository)
        async with self._wire.open(what, "POST", path, params={"tag": tag}, headers=headers) as answer:
            async for line in Lines(answer):
                _report(what, line, progress)
                digest = str((line.get("aux") or {}).get("Digest") or digest)
                if not digest and str(line.get("status", "")).startswith(f"{tag}: digest: "):
                    digest = str(line["status"]).split()[2]
        return digest

    async def tag(self, name: str, new: str) -> None:
        _image(new)
        repository, tag = split_reference(new)
        await self._wire.call(f"tag {name} as {new}", "POST", f"{_image(name)}/tag", params={"repo": repository, "tag": tag})

    async def remove_image(self, name: str, *, force: bool = False) -> None:
        await self._wire.call(f"remove image {name}", "DELETE", _image(name), params={"force": str(int(force))})

    async def import_image(self, tar: Tar, name: str, *, changes: Sequence[str] = ()) -> str:
        _image(name)
        repository, tag = split_reference(name)
        params = {"fromSrc": "-", "repo": repository, "tag": tag, **({"changes": "\n".join(changes)} if changes else {})}
        what = f"import {name}"
        async with self._wire.open(what, "POST", "images/create", params=params, body=tar) as answer:
            async for line in Lines(answer):
                _report(what, line, None)
        return str((await self.image(f"{repository}:{tag}"))["Id"])

    async def load(self, tar: Tar) -> Sequence[str]:
        what, names = "load images", []
        async with self._wire.open(what, "POST", "images/load", params={"quiet": "1"}, body=tar) as answer:
            async for line in Lines(answer):
                _report(what, line, None)
                for said in str(line.get("stream", "")).splitlines():
                    head, _, loaded = said.partition(": ")
                    if head in ("Loaded image", "Loaded image ID", "Loaded image(s)"):
                        names += [name.strip() for name in loaded.split(",")]
        return names

    @contextlib.asynccontextmanager
    async def save(self, names: Sequence[str]) -> AsyncGenerator[AsyncIterator[bytes], None]:
        query = "&".join(f"names={quote(name, safe='')}" for name in names if _image(name))
        what = f"save {', '.join(names)}"
        async with (
            self._wire.open(what, "GET", f"images/get?{query}", timeout=self._wire.timeout) as answer,
            contextlib.aclosing(_pieces(answer)) as pieces,
        ):
            yield pieces

    async def networks(self, *, filters: Filters | None = None) -> list[Json]:
        return _objects(await self._wire.call("list networks", "GET", "networks", params=filters_text(filters)))

    async def network(self, name: str) -> Json:
        return _object(await self._wire.call(f"inspect network {name}", "GET", f"networks/{_checked(name)}"))

    async def create_network(self, config: Json) -> str:
        name = _checked(str(config.get("Name", "")))
        body = {"CheckDuplicate": True, **config}
        return str(_object(await self._wire.call(f"create network {name}", "POST", "networks/create", body=body)).get("Id", ""))

    async def remove_network(self, name: str) -> None:
        await self._wire.call(f"remove network {name}", "DELETE", f"networks/{_checked(name)}")

    async def connect(self, network: str, container: str, *, aliases: Sequence[str] = ()) -> None:
        body = {"Container": _checked(container), "EndpointConfig": {"Aliases": list(aliases)} if aliases else {}}
        await self._wire.call(f"connect {container} to network {network}", "POST", f"networks/{_checked(network)}/connect", body=body)

    async def disconnect(self, network: str, container: str, *, force: bool = False) -> None:
        body = {"Container": _checked(container), "Force": force}
        what = f"disconnect {container} from network {network}"
        await self._wire.call(what, "POST", f"networks/{_checked(network)}/disconnect", body=body)

    async def volumes(self, *, filters: Filters | None = None) -> list[Json]:
        found = _object(await self._wire.call("list volumes", "GET", "volumes", params=filters_text(filters)))
        return _objects(found.get("Volumes"))

    async def volume(self, name: str) -> Json:
        return _object(await self._wire.call(f"inspect volume {name}", "GET", f"volumes/{_checked(name)}"))

    async def create_volume(self, config: Json) -> Json:
        name = str(config.get("Name") or "")
        return _object(await self._wire.call(f"create volume {name}", "POST", "volumes/create", body=config))

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        try:
            await self._wire.call(f"remove volume {name}", "DELETE", f"volumes/{_checked(name)}", params={"force": str(int(force))})
        except NotFound:
            if not force:
                raise

    @contextlib.asynccontextmanager
    async def events(self, *, filters: Filters | None = None) -> AsyncGenerator[AsyncIterator[Change | Anew], None]:
        feed = Feed()
        task = asyncio.create_task(listen(self._wire, feed, filters))
        self._listening.add(task)
        task.add_done_callback(lambda ended: feed.end(None if ended.cancelled() else ended.exception()) if not feed.ended else None)
        try:
            yield feed
        finally:
            self._listening.discard(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        for task in self._listening:
            task.cancel()
        await self._wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


async def _feed(writer: asyncio.StreamWriter, stdin: bytes) -> None:
    """Gives a program its input, and its end."""
    if stdin:
        with contextlib.suppress(OSError):  # it may end before it has read everything
            writer.write(stdin)
            await writer.drain()
            writer.write_eof()


async def _pieces(source: Pieces) -> AsyncGenerator[bytes, None]:
    while piece := await source.read(1 << 16):
        yield piece


def _report(what: str, line: Json, progress: Callable[[Progress], None] | None) -> None:
    """Tells a step's progress; raises what a failed step means."""
    if "error" in line or "errorDetail" in line:
        detail = line.get("errorDetail") or {}
        message = str(detail.get("message") or line.get("error") or "it failed")
        raise _failed(f"cannot {what}: {message}", message.lower())
    if progress is not None and line.get("status"):
        done = line.get("progressDetail") or {}
        progress(Progress(str(line.get("id", "")), str(line["status"]), int(done.get("current") or 0), int(done.get("total") or 0)))


def _failed(said: str, message: str) -> NotFound | Refused | RuntimeFailed:
    """A failed step has no status, only words: those of the registry's error codes, and the engine's own."""
    if any(word in message for word in ("unauthorized", "no basic auth", "authentication required", "denied")):
        return Refused(said, remedy="give the credentials that the registry wants")
    if any(word in message for word in ("manifest unknown", "not found", "does not exist", "no matching manifest", "name unknown")):
        return NotFound(said)
    return RuntimeFailed(said)


def _auth(auth: Auth | None, repository: str) -> Mapping[str, str]:
    """X-Registry-Auth; empty credentials rather than none: a push without the header is refused by the engine."""
    content: dict[str, str] = {}
    if auth is not None:
        content = {"identitytoken": auth.token} if auth.token else {"username": auth.username, "password": auth.password}
        content["serveraddress"] = repository.partition("/")[0]
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(content).encode()).decode()}


def _checked(name: str) -> str:
    rule = bad_name(name)
    if rule:
        raise InvalidInput(rule)
    return name


def _container(name: str) -> str:
    return f"containers/{_checked(name)}"


def _image(name: str) -> str:
    rule = bad_reference(name)
    if rule:
        raise InvalidInput(rule)
    return f"images/{quote(name, safe='/:@')}"


def _object(found: Any) -> Json:
    if not isinstance(found, dict):
        raise RuntimeFailed(f"the Docker Engine answered {str(found)[:80]!r} where an object belongs")
    return found


def _objects(found: Any) -> list[Json]:
    return [_object(one) for one in found or []]
