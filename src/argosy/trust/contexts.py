"""TLS contexts, TLS 1.2 or newer. Between machines TLS is mutual: both sides show a certificate of the cluster's authority."""

from __future__ import annotations

import ssl

from argosy.errors import InvalidInput


def server(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """For a door that only holders of a certificate of `ca` may enter. Paths of PEM files; raises InvalidInput naming what is wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, ca, cert, key)


def client(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """For asking such a door: pass `authority.machine_name(id)` as the server's host name, which is verified."""
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca, cert, key)


def public(cert: str, key: str) -> ssl.SSLContext:
    """For a listener that asks nobody for a certificate. Paths of PEM files; raises InvalidInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_pair(context, cert, key, "give PEM files")
    return context


def _loaded(context: ssl.SSLContext, ca: str, cert: str, key: str) -> ssl.SSLContext:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the authority's certificate {ca} cannot be used: {error}", remedy="see argosy ca") from error
    _load_pair(context, cert, key, "see argosy ca")
    return context


def _load_pair(context: ssl.SSLContext, cert: str, key: str, remedy: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the certificate {cert} with key {key} cannot be used: {error}", remedy=remedy) from error
