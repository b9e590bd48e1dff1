"""The errors of the OCI distribution specification, and those of the store beneath, as they are told to clients:

{"errors": [{"code": "BLOB_UNKNOWN", "message": "…", "detail": …}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from aiohttp import web

from argosy.errors import ArgosyError
from argosy.web.answers import answer
from argosy.web.errors import HttpError, Malformed


class Code(StrEnum):
    """The specification's codes, and after them two of Docker's that are only sent with a status of 500 and above."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    UNAVAILABLE = "UNAVAILABLE"
    UNKNOWN = "UNKNOWN"


STATUS = {
    Code.BLOB_UNKNOWN: 404,
    Code.BLOB_UPLOAD_INVALID: 400,
    Code.BLOB_UPLOAD_UNKNOWN: 404,
    Code.DIGEST_INVALID: 400,
    Code.MANIFEST_BLOB_UNKNOWN: 404,
    Code.MANIFEST_INVALID: 400,
    Code.MANIFEST_UNKNOWN: 404,
    Code.NAME_INVALID: 400,
    Code.NAME_UNKNOWN: 404,
    Code.SIZE_INVALID: 400,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.UNSUPPORTED: 405,
    Code.TOOMANYREQUESTS: 429,
    Code.UNAVAILABLE: 503,
    Code.UNKNOWN: 500,
}
"""The status of each where the specification does not ask for another in the case at hand."""


class Fault(HttpError):
    """One error that a client is told. `detail` is anything that is JSON; `headers` go with the answer: WWW-Authenticate, Retry-After, …"""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        remedy: str = "",
        detail: object = None,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status or STATUS[code], remedy=remedy, headers=headers)
        self.code = code
        self.detail = detail


class Faults(Fault):
    """Several at once (a manifest whose blobs are missing): the status and headers are the first one's."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__(first.code, first.message, remedy=first.remedy, detail=first.detail, status=first.status, headers=first.headers)
        self.faults = faults


class StorageFull(ArgosyError):
    """507: the store takes no more."""

    status = 507


class _Error(msgspec.Struct):
    code: str
    message: str
    detail: object = None


class _Errors(msgspec.Struct):
    errors: list[_Error]


def failed(error: ArgosyError) -> web.Response:
    """The answer to an error, as the specification has it. What is not the client's doing keeps its status: 503 (come back), 507 (full)."""
    each = error.faults if isinstance(error, Faults) else [error]
    return answer(_Errors([_Error(_code(one), str(one), one.detail if isinstance(one, Fault) else None) for one in each]), error.status)


_CODES = {400: Code.UNSUPPORTED, 403: Code.DENIED, 404: Code.NAME_UNKNOWN, 413: Code.SIZE_INVALID, 503: Code.UNAVAILABLE}


def _code(error: ArgosyError) -> Code:
    if isinstance(error, Fault):
        return error.code
    if isinstance(error, Malformed):
        return Code.SIZE_INVALID
    if isinstance(error, HttpError) and error.status < 500:  # of a request that meets no route
        return Code.UNSUPPORTED
    return _CODES.get(error.status, Code.UNKNOWN)
