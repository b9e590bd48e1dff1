"""The names that certificates carry. Apart from `authority`, so that an agent need not load what only makes certificates."""

from __future__ import annotations


def machine_name(machine_id: str) -> str:
    """The DNS name that a machine's certificate carries and its peers verify."""
    return f"{machine_id}.argosy"
