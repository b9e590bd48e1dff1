"""Errors as a person sees them: what is wrong, and below it what to do next."""

from __future__ import annotations

from typing import IO, Any

import click

from argosy.errors import ArgosyError


def told(error: ArgosyError) -> str:
    return f"Error: {error.message}" + (f"\n  {error.remedy}" if error.remedy else "")


def complain(error: ArgosyError) -> None:
    click.echo(told(error), err=True)


class Failure(click.ClickException):
    """An ArgosyError that ends the command."""

    def __init__(self, error: ArgosyError) -> None:
        super().__init__(error.message)
        self.error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return self.error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(told(self.error), err=True, file=file)
