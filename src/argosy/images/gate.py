"""Who comes in: the middleware that asks for passwords and tokens, and the endpoint that issues tokens.

It speaks what Docker, containerd, podman, skopeo and oras speak. Basic: each request carries user and password. Bearer: the challenge names
our /token, the client fetches a token there (with its password, or without for anonymous) and sends that. Whichever is asked for, both are
taken. https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/ are the rules.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy.errors import InvalidInput, TooLarge
from argosy.images.access import Need, Rules, basic_challenge, bearer_challenge, needs, parse_scopes
from argosy.images.faults import Code, Fault
from argosy.images.passwords import Passwords
from argosy.images.target import TARGET
from argosy.images.tokens import SHORT_SECONDS, BadToken, Claims, Tokens
from argosy.reconcile import Clock
from argosy.web.admission import READING, client_of
from argosy.web.bodies import whole
from argosy.web.errors import Handler
from argosy.web.server import READS, Route

TOKEN_PATH = "/token"
LARGEST_FORM = 64 * 1024


class Asker(msgspec.Struct, frozen=True):
    """Who asks. `user`: "" for anonymous; `claims`: what a token says that its bearer may do."""

    user: str = ""
    claims: Claims | None = None


NOBODY = Asker()


class Gate:
    """`passwords` None: there are no users, and everybody may do what `rules` allow anonymous. `bearer`: the challenge asks for a token
    rather than for a password. `realm`: the token endpoint's URL as clients reach it ("" = from the request)."""

    def __init__(
        self,
        rules: Rules,
        tokens: Tokens,
        clock: Clock,
        *,
        passwords: Passwords | None = None,
        bearer: bool = False,
        realm: str = "",
        read_only: bool = False,
    ) -> None:
        self._rules = rules
        self._tokens = tokens
        self._clock = clock
        self._passwords = passwords
        self._bearer = bearer
        self._realm = realm
        self._read_only = read_only

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def enter(request: web.Request, handler: Handler) -> web.StreamResponse:
            if TARGET in request:
                await self._admit(request)
            return await handler(request)

        return enter

    def routes(self) -> list[Route]:
        """The token endpoint, where there are users."""
        if self._passwords is None:
            return []
        return [Route(READS, TOKEN_PATH, self._get_token), Route("POST", TOKEN_PATH, self._post_token)]

    async def _admit(self, request: web.Request) -> None:
        target = request[TARGET]
        if self._read_only and request.method not in READING:
            raise Fault(Code.UNSUPPORTED, "this registry is read-only")
        wanted = needs(request.method, target.kind, target.repository, target.source)
        asker = await self._asker(request, wanted)
        if self._passwords is not None and target.kind == "base" and asker is NOBODY:
            raise self._challenge(request, wanted)  # clients learn here that, and how, they can log in
        if target.source and not self._allows(asker, wanted[1]):
            request[TARGET] = msgspec.structs.replace(target, source="")  # not mounted then: uploaded, as the specification wants
            wanted = wanted[:1]
        if all(self._allows(asker, need) for need in wanted):
            return
        if asker is NOBODY and self._passwords is not None:
            raise self._challenge(request, wanted)
        if asker.claims is not None:
            raise self._challenge(request, wanted, "insufficient_scope")
        raise Fault(Code.DENIED, f"{asker.user or 'anonymous'} may not {' or '.join(need.scope for need in wanted)}")

    def _allows(self, asker: Asker, need: Need) -> bool:
        return asker.claims.allows(need) if asker.claims is not None else self._rules.allow(asker.user, need)

    async def _asker(self, request: web.Request, wanted: Sequence[Need]) -> Asker:
        """Raises Fault UNAUTHORIZED for credentials that are not good."""
        if self._passwords is None or "Authorization" not in request.headers:
            return NOBODY
        scheme, _, credentials = request.headers["Authorization"].partition(" ")
        if scheme.lower() == "bearer":
            try:
                claims = self._tokens.verify(credentials.strip(), self._clock.now())
            except BadToken as error:
                raise self._challenge(request, wanted, "invalid_token", error.message) from error
            return Asker(claims.sub, claims)
        user = await self._user(scheme, credentials, client_of(request).address)
        if user is None:
            raise self._challenge(request, wanted, message="user and password do not match")
        return Asker(user)

    async def _user(self, scheme: str, credentials: str, address: str) -> str | None:
        """None: not good."""
        if scheme.lower() != "basic":
            return None
        try:
            user, colon, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return user if colon and await self._checked(user, password, address) else None

    async def _checked(self, user: str, password: str, address: str) -> bool:
        assert self._passwords is not None
        try:
            return await self._passwords.check(user, password, address)
        except TooLarge as error:  # Busy
            raise Fault(Code.TOOMANYREQUESTS, error.message, remedy=error.remedy, headers={"Retry-After": "5"}) from error

    def _challenge(self, request: web.Request, wanted: Sequence[Need], error: str = "", message: str = "log in first") -> Fault:
        if self._bearer or error:
            client = client_of(request)
            realm = self._realm or f"{client.scheme}://{client.host}{TOKEN_PATH}"
            header = bearer_challenge(realm, self._tokens.service, wanted, error)
        else:
            header = basic_challenge(self._tokens.service)
        return Fault(Code.UNAUTHORIZED, message, detail=[need.scope for need in wanted] or None, headers={"WWW-Authenticate": header})

    async def _get_token(self, request: web.Request) -> web.Response:
        """The Docker token protocol: no Authorization header is anonymous."""
        user: str | None = ""
        if "Authorization" in request.headers:
            scheme, _, credentials = request.headers["Authorization"].partition(" ")
            user = await self._user(scheme, credentials, client_of(request).address)
        return self._answer(user, request.query.get("service", ""), request.query.getall("scope", []))

    async def _post_token(self, request: web.Request) -> web.Response:
        """OAuth 2 with grant_type=password."""
        text = dict(parse_qsl((await whole(request, LARGEST_FORM)).decode(errors="replace"), keep_blank_values=True))
        if text.get("grant_type") != "password":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        user = text.get("username", "")
        right = await self._checked(user, text.get("password", ""), client_of(request).address)
        return self._answer(user if right else None, text.get("service", ""), [text.get("scope", "")])

    def _answer(self, user: str | None, service: str, scopes: Sequence[str]) -> web.Response:
        """A token for as much of what is asked for as the user may have: also for nothing, with which the registry then refuses."""
        if user is None:
            header = {"WWW-Authenticate": basic_challenge(self._tokens.service)}
            raise Fault(Code.UNAUTHORIZED, "user and password do not match", headers=header)
        if service and service != self._tokens.service:
            raise InvalidInput(f"there are no tokens for {service[:80]!r} here", remedy=f"this is {self._tokens.service}")
        now = self._clock.now()
        granted = [need for need in parse_scopes(scopes) if self._rules.allow(user, need)]
        token = self._tokens.issue(user, granted, now)
        issued = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = {"token": token, "access_token": token, "expires_in": SHORT_SECONDS, "issued_at": issued}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})
