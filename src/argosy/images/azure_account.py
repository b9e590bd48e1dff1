"""Which Azure storage account is meant: every form of connection string that Azure documents, and the variables of its tools. Values in,
values out; no message repeats a secret.

https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string lists the forms: an account's key, explicit endpoints,
a shared access signature with an endpoint or an account's name, the emulator, and other clouds by EndpointSuffix.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from argosy.errors import InvalidInput

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
NAMES = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
KEYS = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY")
SIGNATURES = ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY")
ENDPOINTS = ("AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_SERVICE_ENDPOINT")

PUBLIC_CLOUD = "core.windows.net"
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Published by Microsoft for its emulator: UseDevelopmentStorage=true means these."""


class AzureAccount(msgspec.Struct, frozen=True):
    """`endpoint`: of the account's blob service."""

    name: str
    endpoint: str
    key: str = ""
    sas: str = ""

    def __repr__(self) -> str:
        return f"AzureAccount({self.name!r}, {self.endpoint!r})"


def azure_account(environment: Mapping[str, str], *, account: str = "", endpoint: str = "") -> AzureAccount:
    """The account that the connection string says, or the variables; `account` and `endpoint`, if given, go before. White space around
    secrets (a line break at the end of a file) is no part of them. Raises InvalidInput."""
    text = environment.get(CONNECTION, "").strip()
    given = _connection_string(text) if text else {}
    if given.get("usedevelopmentstorage", "").lower() == "true":
        proxy = given.get("developmentstorageproxyuri") or "http://127.0.0.1"
        given = {"accountname": AZURITE_ACCOUNT, "accountkey": AZURITE_KEY, "blobendpoint": f"{proxy}:10000/{AZURITE_ACCOUNT}"}
    key, key_from = (given["accountkey"], f"AccountKey in {CONNECTION}") if given.get("accountkey") else _first(environment, KEYS)
    sas = given.get("sharedaccesssignature") or _first(environment, SIGNATURES)[0]
    endpoint = endpoint or given.get("blobendpoint") or _first(environment, ENDPOINTS)[0]
    _check_endpoint(endpoint)
    name = account or given.get("accountname") or _first(environment, NAMES)[0] or _account_of(endpoint)
    if not name:
        what = f"{CONNECTION} names neither BlobEndpoint nor AccountName" if text else "which Azure storage account?"
        raise InvalidInput(what, remedy=f"set {CONNECTION} as the portal shows it, or AZURE_STORAGE_ACCOUNT_NAME and _KEY")
    _check_key(key, key_from)
    suffix = given.get("endpointsuffix") or PUBLIC_CLOUD
    endpoint = endpoint or f"{given.get('defaultendpointsprotocol') or 'https'}://{name}.blob.{suffix}"
    return AzureAccount(name, endpoint.rstrip("/"), key, sas.removeprefix("?"))


def _connection_string(text: str) -> dict[str, str]:
    """What concerns other services is of no matter here."""
    given = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"{CONNECTION} is no connection string", remedy="NAME=VALUE;NAME=VALUE as the portal shows it")
        given[name.strip().lower()] = value.strip()
    return given


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The first variable that says anything: its value and its name."""
    return next(((environment[name].strip(), name) for name in names if environment.get(name, "").strip()), ("", ""))


def _account_of(endpoint: str) -> str:
    """ACCOUNT.blob.core.windows.net and its like are hosts of the account; an emulator has the account as its path."""
    split = urlsplit(endpoint)
    host = split.hostname or ""
    if "." not in host or host.replace(".", "").isdecimal() or ":" in host:
        return split.path.strip("/").partition("/")[0]
    return host.partition(".")[0]


def _check_endpoint(endpoint: str) -> None:
    split = urlsplit(endpoint)
    if not endpoint:
        return
    if split.scheme not in ("http", "https") or not split.hostname:
        raise InvalidInput("the blob endpoint is no http:// or https:// URL", remedy="such as https://ACCOUNT.blob.core.windows.net")
    if split.query or split.username:
        raise InvalidInput("the blob endpoint carries more than an address", remedy="put the signature into SharedAccessSignature=")


def _check_key(key: str, origin: str) -> None:
    """Azure's keys are 64 bytes in base64; what a shell or an editor has cut off is seen here rather than as a signature that fails."""
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        strange = sorted({sign for sign in key if not (sign.isascii() and (sign.isalnum() or sign in "+/="))})
        why = f"it holds {strange[0]!r}" if strange else f"it has {len(key)} characters, and base64 a multiple of four"
        raise InvalidInput(
            f"the account key ({origin}) is not valid: {why}", remedy="copy it whole: 88 characters, the last two of which are =="
        ) from None
