"""Errors as a person sees them: what is wrong, and below it what to do next."""

from __future__ import annotations

from typing import IO, Any

import click

from argosy.errors import ArgosyError
from argosy.terminal import echo, indented


def complain(error: ArgosyError) -> None:
    """Print the message, and below it, indented, the further lines of the message and the remedy."""
    hints = [f"  {line}" for line in error.remedy.split("\n") if error.remedy]
    echo(*indented(f"Error: {error.message}"), *hints, err=True)


class Failure(click.ClickException):
    """An ArgosyError that ends the command."""

    def __init__(self, error: ArgosyError) -> None:
        super().__init__(error.message)
        self.error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return self.error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        complain(self.error)
