"""The error tree. Every error that reaches a person names the input, the rule and the remedy.

ArgosyError                     anything Argosy itself refuses or fails at
├── InvalidInput        (400)   what was sent breaks a rule
│   ├── InvalidUnit     (400)   ... and it is a unit file or a unit name
│   └── TooLarge        (413)   ... and it is larger than what is taken
├── NotFound            (404)   no such unit, machine, key, ...
├── Conflict            (409)   a condition of a commit did not hold; somebody was faster
├── Refused             (403)   the asker may not do that
├── Unsuitable          (500)   this host cannot do that (no root, no nginx, ...)
├── RuntimeFailed       (500)   systemd, the supervisor or nginx refused or failed
├── LeaseLost           (503)   the lease has ended; its keys are gone
├── HistoryGone         (503)   the store no longer has the events asked for: list again
├── StoreUnavailable    (503)   the store cannot be reached, or has no quorum
│   └── StoreFull       (507)   ... or it takes nothing more: it, or its disk, is full
└── DockerUnavailable   (503)   the Docker Engine cannot be reached, or does not answer
"""

from __future__ import annotations

from collections.abc import Mapping


class ArgosyError(Exception):
    """Base of all errors that Argosy raises on purpose.

    `message` says which input broke which rule; `remedy`, where there is one, says what to do next.
    """

    status = 500
    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class InvalidInput(ArgosyError):
    status = 400
    exit_code = 2


class InvalidUnit(InvalidInput):
    pass


class TooLarge(InvalidInput):
    status = 413


class NotFound(ArgosyError):
    status = 404


class Conflict(ArgosyError):
    """A condition of a commit did not hold. `key` is the first one that failed, if the store can tell."""

    status = 409

    def __init__(self, message: str, *, key: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.key = key


class Refused(ArgosyError):
    status = 403


class Unsuitable(ArgosyError):
    pass


class RuntimeFailed(ArgosyError):
    """`refused`: of a call that named several units, those that were refused and why; the others were accepted."""

    def __init__(self, message: str, *, remedy: str = "", refused: Mapping[str, str] | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.refused = dict(refused or {})


class LeaseLost(ArgosyError):
    status = 503


class HistoryGone(ArgosyError):
    """The store has forgotten the events after the asked revision (compaction): list again, then watch."""

    status = 503


class StoreUnavailable(ArgosyError):
    status = 503


class StoreFull(StoreUnavailable):
    """Nothing was written. Deleting may still work."""

    status = 507


class DockerUnavailable(ArgosyError):
    """The Docker Engine was away. Unless it is said otherwise, what was asked may or may not have happened."""

    status = 503


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors in a group, however deep, in order; of what is no group, itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def first_error(error: BaseException) -> BaseException:
    """Return the first ArgosyError in a group; the group if it holds none."""
    return next((leaf for leaf in leaves(error) if isinstance(leaf, ArgosyError)), error)
