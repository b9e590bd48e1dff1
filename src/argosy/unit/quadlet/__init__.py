"""Quadlet files (Podman's `.container`, `.volume`, `.network`): text in, the text of a service for one engine out. Pure."""
