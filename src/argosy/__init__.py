"""Argosy: a container platform that one person can run on a handful of Linux machines."""

__version__ = "0.1.0"
