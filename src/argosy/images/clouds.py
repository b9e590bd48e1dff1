"""Stores in clouds: what their URLs and the environment say, and containers and buckets that are made if they do not exist yet.

Secrets come from the environment, never from a URL, and appear in no message.
"""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec
import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, MemoryStore, ObjectStore, S3Store
from yarl import URL

from argosy.errors import InvalidInput, Refused, StoreUnavailable
from argosy.images.azure_account import AzureAccount, azure_account
from argosy.images.objects import Objects

PROVIDERS = {"az": "Azure Blob", "s3": "S3", "gs": "Google Cloud Storage"}
OPTIONS = {"az": ("endpoint", "account"), "s3": ("endpoint", "region"), "gs": ("endpoint",)}
ABSENT = ("ContainerNotFound", "NoSuchBucket", "The specified bucket does not exist")
"""What the stores say when the container or bucket is not there; obstore has no error of its own for it."""

CLIENT: Any = {"timeout": "120s", "connect_timeout": "5s"}
RETRY: Any = {"max_retries": 3, "retry_timeout": datetime.timedelta(seconds=15)}

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


class Place(msgspec.Struct, frozen=True):
    """A container or bucket and the prefix beneath which the images are."""

    scheme: str
    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    account: str = ""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parse_place(url: str) -> Place:
    """Raises InvalidInput, which does not repeat what may be a secret."""
    split = urlsplit(url)
    shown = f"{split.scheme}://{split.hostname or ''}{split.path}"
    if split.username or split.password:
        raise InvalidInput(f"{shown} carries credentials", remedy="put them into the environment: URLs are shown and logged")
    known = OPTIONS[split.scheme]
    options = dict(parse_qsl(split.query, keep_blank_values=True))
    for option in options:
        if option not in known:
            raise InvalidInput(
                f"{shown} has an option {option!r}", remedy=f"there are: {', '.join(known) or 'none'}; secrets go into the environment"
            )
    bucket, prefix = split.netloc, split.path.strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(f"{shown} names no container or bucket", remedy=f"write {split.scheme}://NAME or {split.scheme}://NAME/PREFIX")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise InvalidInput(f"{shown} has a prefix that cannot be used", remedy="letters, digits and . _ - between slashes")
    endpoint = options.get("endpoint", "")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname or "@" in endpoint):
        raise InvalidInput(f"{shown}: endpoint is no http:// or https:// URL")
    for option, expression in (("region", _REGION), ("account", _ACCOUNT)):
        if option in options and not expression.fullmatch(options[option]):
            raise InvalidInput(f"{shown}: {option} is not valid")
    return Place(split.scheme, bucket, prefix, endpoint.rstrip("/"), options.get("region", ""), options.get("account", ""))


def _first(environment: Mapping[str, str], *names: str) -> str:
    return next((environment[name].strip() for name in names if environment.get(name, "").strip()), "")


async def open_memory() -> Objects:
    """Of this process, gone with it."""
    return Objects(MemoryStore(), "memory://")


async def open_cloud(url: str, environment: Mapping[str, str]) -> Objects:
    """A container or bucket, made if it is not there. Raises InvalidInput, Refused and StoreUnavailable."""
    place = parse_place(url)
    store, account = _store(place, environment)
    if not await _usable(store, place):
        await _make(store, place, account)
        if not await _usable(store, place):
            raise StoreUnavailable(f"{place.url} was made and is not there", remedy="try again in a moment")
    return Objects(store, place.url)


def _store(place: Place, environment: Mapping[str, str]) -> tuple[ObjectStore, AzureAccount | None]:
    plain: Any = {**CLIENT, "allow_http": True}
    prefix = place.prefix or None
    client: Any
    try:
        if place.scheme == "az":
            account = azure_account(environment, account=place.account, endpoint=place.endpoint)
            config: Any = {"account_name": account.name, "endpoint": account.endpoint}
            config |= {"account_key": account.key} if account.key else {"sas_key": account.sas} if account.sas else {}
            client = plain if account.endpoint.startswith("http://") else CLIENT
            return AzureStore(place.bucket, prefix=prefix, config=config, client_options=client, retry_config=RETRY), account
        if place.scheme == "gs":
            config = {"base_url": place.endpoint} if place.endpoint else {}
            client = plain if place.endpoint.startswith("http://") else CLIENT
            return GCSStore(place.bucket, prefix=prefix, config=config, client_options=client, retry_config=RETRY), None
        endpoint = place.endpoint or _first(environment, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        region = place.region or _first(environment, "AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
        config = {"region": region} | ({"endpoint": endpoint} if endpoint else {})
        for name in ("access_key_id", "secret_access_key", "session_token"):
            if value := _first(environment, f"AWS_{name.upper()}"):
                config[name] = value
        client = plain if endpoint.startswith("http://") else CLIENT
        return S3Store(place.bucket, prefix=prefix, config=config, client_options=client, retry_config=RETRY), None
    except (BaseError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise InvalidInput(f"{place.url}: {why}", remedy="see docs/images.md for the variables of each cloud") from None


async def _usable(store: ObjectStore, place: Place) -> bool:
    """False: there is no such container or bucket."""
    try:
        async for _ in obstore.list(store, chunk_size=1):
            break
    except (PermissionDeniedError, UnauthenticatedError):
        raise Refused(f"{PROVIDERS[place.scheme]} refuses the credentials for {place.url}") from None
    except FileNotFoundError:
        return False
    except (BaseError, OSError) as error:
        text = str(error)
        if any(absent in text for absent in ABSENT):
            return False
        if "AuthenticationFailed" in text or "AuthorizationFailure" in text or "403 Forbidden" in text or "401 Unauthorized" in text:
            raise Refused(f"{PROVIDERS[place.scheme]} refuses the credentials for {place.url}") from None
        raise StoreUnavailable(f"{place.url} cannot be reached: {without_secrets(text.splitlines()[0])}") from None
    return True


async def _make(store: ObjectStore, place: Place, account: AzureAccount | None) -> None:
    if account is not None:
        azure = importlib.import_module("argosy.images.azure")
        await azure.make_container(account.endpoint, place.bucket, account.name, account.key, account.sas)
    elif isinstance(store, S3Store):
        await _make_bucket(store, place)
    else:
        raise Refused(f"the bucket {place.bucket} does not exist", remedy=f"make it: gcloud storage buckets create gs://{place.bucket}")


async def _make_bucket(store: S3Store, place: Place) -> None:
    """obstore cannot make buckets, and can sign the request for it."""
    region = str(store.config.get("region", "us-east-1"))
    client: Any = {**CLIENT, "allow_http": True}
    config: Any = {name: value for name, value in store.config.items() if name != "bucket"}
    root = S3Store(place.bucket, config=config, client_options=client)  # without the prefix
    signed = await obstore.sign_async(root, "PUT", "", datetime.timedelta(minutes=5))
    remedy = f"make it yourself: aws s3 mb s3://{place.bucket}"
    body = "" if region == "us-east-1" else _LOCATION.format(region)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.put(URL(signed, encoded=True), data=body.encode()) as answer,
        ):
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StoreUnavailable(f"the bucket {place.bucket} could not be made: {type(error).__name__}", remedy=remedy) from None
    if answer.status >= 300 and "BucketAlreadyOwnedByYou" not in text:
        code = re.search(r"<Code>(\w+)</Code>", text)
        why = code[1] if code else f"status {answer.status}"
        raise Refused(f"the bucket {place.bucket} does not exist and could not be made: {why}", remedy=remedy)


_LOCATION = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>{}</LocationConstraint>'
    "</CreateBucketConfiguration>"
)


def without_secrets(text: str) -> str:
    """An error's text without the query strings of its URLs, which may carry signatures."""
    return re.sub(r"\?[^\s\"'<>]+", "?…", text)
