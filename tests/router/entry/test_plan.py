"""Who belongs to an entry's pools, at which address, and who of them is used."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.model import RouterReport
from argosy.router.entry.plan import (
    Backend,
    Left,
    Member,
    Seen,
    Silent,
    Unhealthy,
    Wanted,
    check_wanted,
    chosen,
    is_router,
    judged,
    labels,
    parse_tcp,
    plan,
    pools,
    reach,
)

A, B = "10.0.0.1:80", "10.0.0.2:80"
ALL = Wanted(("0.0.0.0:80",), ("0.0.0.0:443",), (("0.0.0.0:5432", 5432),))


def member(number: int = 1, **fields: Any) -> Member:
    ident = str(number) * 32
    known = Member(ident, f"m{number}", f"10.0.0.{number}", router=RouterReport(ident, listen=("0.0.0.0:80",), tls_listen=("0.0.0.0:443",)))
    return msgspec.structs.replace(known, **fields)


REACHED = [
    (("0.0.0.0:80",), "10.0.0.1", "10.0.0.1:80", "everywhere is the machine's own address"),
    (("*:8080",), "10.0.0.1", "10.0.0.1:8080", "so it is in nginx's other word"),
    (("[::]:80",), "fd00::1", "[fd00::1]:80", "everywhere in IPv6"),
    (("[::]:80", "0.0.0.0:81"), "10.0.0.1", "10.0.0.1:81", "nginx's [::] takes no IPv4"),
    (("127.0.0.1:80", "10.0.0.9:80"), "10.0.0.1", "10.0.0.9:80", "another address of the machine, rather than its loopback"),
    (("10.0.0.9:80", "10.0.0.1:82", "0.0.0.0:81"), "10.0.0.1", "10.0.0.1:82", "its own address before all others"),
    (("127.0.1.1:8081",), "127.0.1.1", "127.0.1.1:8081", "a machine that is on loopback itself"),
]


@pytest.mark.parametrize(("listen", "address", "at", "why"), REACHED, ids=[row[3] for row in REACHED])
def test_what_listens_is_reached_at(listen: tuple[str, ...], address: str, at: str, why: str) -> None:
    assert reach(listen, address) == at


UNREACHED = [
    (("127.0.0.1:80",), "10.0.0.1", "where 10.0.0.1 is not reached", "a router on loopback only"),
    (("[::]:80",), "10.0.0.1", "where 10.0.0.1 is not reached", "another family"),
    (("0.0.0.0:80",), "web-1.example", "is no IP address", "a machine that gives a name"),
    (("0.0.0.0:80",), "10.0.0.1;\ninclude /x", "is no IP address", "a machine that wants more"),
    (("[::]:80",), "fe80::1%eth0", "no address", "an address that means something on one host only"),
    (("0.0.0.0:0",), "10.0.0.1", "port is not a number", "a port that is none"),
    (("unix:/x",), "10.0.0.1", "is not reached", "a socket"),
    ((), "10.0.0.1", "is not reached", "nowhere"),
]


@pytest.mark.parametrize(("listen", "address", "said", "why"), UNREACHED, ids=[row[3] for row in UNREACHED])
def test_what_is_not_reached_is_said(listen: tuple[str, ...], address: str, said: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        reach(listen, address)


def test_a_machine_is_in_every_pool_with_what_is_asked_for_its_health() -> None:
    assert plan([member()], ALL).backends == (
        Backend("http", "m1", A, A),
        Backend("tcp:5432", "m1", "10.0.0.1:5432"),
        Backend("tls", "m1", "10.0.0.1:443", A),
    )


LEFT = [
    ({"router": None}, {}, "no router reports from there", "a machine without a router"),
    ({"router": RouterReport("1" * 32, listen=("127.0.0.1:80",))}, {}, "it listens on 127.0.0.1:80 only", "a router that keeps to itself"),
    ({"metadata": {"role": "db"}}, {"metadata": {"role": "web"}}, "it is not role=web: it has role=db", "another role"),
    ({}, {"metadata": {"role": "web"}}, "it is not role=web: it has no role", "no role"),
    ({"metadata": {"role": "x\ny"}}, {"metadata": {"role": "web"}}, "it has role=x\\x0ay", "a role with a line break"),
]


@pytest.mark.parametrize(("fields", "asked", "said", "why"), LEFT, ids=[row[3] for row in LEFT])
def test_a_machine_that_does_not_belong_is_left_with_its_reason(fields: dict[str, Any], asked: dict[str, Any], said: str, why: str) -> None:
    found = plan([member(**fields), member(2, metadata={"role": "web"})], Wanted(**asked))
    assert [backend.name for backend in found.backends] == ["m2"]
    assert [(left.pool, left.name) for left in found.left] == [("http", "m1")]
    assert said in found.left[0].reason


def test_a_router_that_does_not_say_where_it_listens_is_one_of_before_and_listens_on_80() -> None:
    old = member(router=RouterReport("1" * 32))
    found = plan([old], ALL)
    assert Backend("http", "m1", A, A) in found.backends
    assert Left("tls", "m1", "its router does not listen for TLS") in found.left


def test_routers_that_report_nothing_are_asked_at_the_usual_ports_where_the_operator_says_that_there_are_any() -> None:
    told = msgspec.structs.replace(ALL, assume=True)
    silent = plan([member(router=None)], told)
    assert silent.left == ()
    assert silent.backends == plan([member()], ALL).backends
    reported = member(router=RouterReport("1" * 32, listen=("0.0.0.0:8081",)))
    assert Backend("http", "m1", "10.0.0.1:8081", "10.0.0.1:8081") in plan([reported], told).backends


@pytest.mark.parametrize(("asked", "takes"), [(True, False), (False, True)])
def test_the_proxy_protocol_is_spoken_only_with_routers_that_take_it(asked: bool, takes: bool) -> None:
    router = RouterReport("1" * 32, listen=("0.0.0.0:80",), tls_listen=("0.0.0.0:443",), proxy_protocol=takes)
    wanted = Wanted((), ("0.0.0.0:443",), proxy_protocol=asked)
    assert plan([member(router=router)], wanted).backends == ()
    other = msgspec.structs.replace(router, proxy_protocol=asked)
    found = plan([member(router=router), member(2, router=other)], wanted)
    assert [backend.name for backend in found.backends] == ["m2"]
    assert [pool.proxy for pool in pools(wanted, found.backends)] == [asked]


def test_a_router_whose_http_is_not_reached_is_checked_by_a_connection_to_its_tls() -> None:
    router = RouterReport("1" * 32, listen=("127.0.0.1:80",), tls_listen=("0.0.0.0:443",))
    assert plan([member(router=router)], Wanted((), ("0.0.0.0:443",))).backends == (Backend("tls", "m1", "10.0.0.1:443"),)


@pytest.mark.parametrize(
    ("fields", "spare"), [({}, ""), ({"cordoned": True}, "cordoned"), ({"cordoned": True, "draining": True}, "draining")]
)
def test_what_the_operator_has_ordered_makes_a_spare(fields: dict[str, bool], spare: str) -> None:
    assert [backend.spare for backend in plan([member(**fields)], Wanted()).backends] == [spare]


ONE, TWO, SPARE = Backend("http", "m1", A, A), Backend("http", "m2", B, B), Backend("http", "m3", "10.0.0.3:80", "", "cordoned")
CHOSEN = [
    ((ONE, TWO, SPARE), (ONE, TWO, SPARE), (ONE, TWO), "all that are ready and answer, and no spare"),
    ((ONE, TWO, SPARE), (TWO, SPARE), (TWO,), "only those that answer"),
    ((ONE, TWO, SPARE), (SPARE,), (SPARE,), "a cordoned machine is better than none"),
    ((ONE, TWO, SPARE), (), (ONE, TWO), "when none answers, all are used but spares"),
    ((SPARE,), (), (SPARE,), "and at last spares too"),
    ((), (), (), "nobody is nobody"),
]


@pytest.mark.parametrize(("backends", "up", "used", "why"), CHOSEN, ids=[row[3] for row in CHOSEN])
def test_who_is_used(backends: tuple[Backend, ...], up: tuple[Backend, ...], used: tuple[Backend, ...], why: str) -> None:
    assert chosen(backends, up) == used


def test_pools_have_their_own_machines_and_addresses_and_an_address_counts_once() -> None:
    twin = Backend("http", "m9", A, A)
    web, db = pools(
        Wanted(("0.0.0.0:80", "[::]:80"), (), (("0.0.0.0:1", 5432), ("0.0.0.0:2", 5432))), (ONE, twin, Backend("tcp:5432", "m1", A))
    )
    assert (web.word, web.listen, web.servers) == ("argosy_routers", ("0.0.0.0:80", "[::]:80"), (ONE,))
    assert (db.word, db.listen, len(db.servers)) == ("argosy_tcp_5432", ("0.0.0.0:1", "0.0.0.0:2"), 1)


UP = Seen("m1", A, True, 5.0)
ONCE = Seen("m1", A, True, 5.0, 1, "silent")
DOWN = Seen("m1", A, False, 6.0, 2, "silent")
JUDGED = [
    (None, None, Seen("m1", A, True, 9.0), "a new one that answers is up"),
    (None, Silent("silent"), Seen("m1", A, False, 9.0, 1, "silent"), "a new one that does not is out"),
    (UP, None, UP, "one that goes on answering stays as it is"),
    (UP, Unhealthy("refused"), Seen("m1", A, False, 9.0, 1, "refused"), "one that refuses is out at once"),
    (UP, Silent("silent"), ONCE, "one that is silent once is kept"),
    (ONCE, Silent("silent"), Seen("m1", A, False, 9.0, 2, "silent"), "one that is silent twice is out"),
    (ONCE, None, UP, "an answer in between forgets the silence"),
    (DOWN, Silent("silent"), DOWN, "one that stays silent stays as it is, so that nothing is written"),
    (DOWN, None, Seen("m1", A, True, 9.0), "its first good answer brings it back"),
]


@pytest.mark.parametrize(("known", "failure", "seen", "why"), JUDGED, ids=[row[3] for row in JUDGED])
def test_a_router_is_judged_by_what_is_known_of_it_and_one_more_check(
    known: Seen | None, failure: Silent | Unhealthy | None, seen: Seen, why: str
) -> None:
    assert judged(known, ONE, failure, 9.0) == seen


WRONG = [
    (Wanted(()), "listen nowhere", "nothing to do"),
    (Wanted(("0.0.0.0:80", "0.0.0.0:80")), "0.0.0.0:80 twice", "an address named twice"),
    (Wanted(("0.0.0.0:80",), ("0.0.0.0:80",)), "0.0.0.0:80 twice", "an address for two things"),
    (Wanted(("80",)), "no address to listen on", "a port without an address"),
    (Wanted(("0.0.0.0:80; include /x",)), "no address to listen on", "an address that wants more"),
    (Wanted(("fe80::1%eth0:80",)), "no address to listen on", "an address with a zone"),
    (Wanted(trusted=("0.0.0.0/0;",)), "trusted", "a network that wants more"),
]


@pytest.mark.parametrize(("wanted", "said", "why"), WRONG, ids=[row[2] for row in WRONG])
def test_what_cannot_be_wanted_is_refused_by_name(wanted: Wanted, said: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_wanted(wanted)


def test_a_tcp_address_and_the_machines_port() -> None:
    assert parse_tcp("0.0.0.0:5432=5432") == ("0.0.0.0:5432", 5432)
    assert parse_tcp("[::]:15432=5432") == ("[::]:15432", 5432)
    for text in ("5432", "0.0.0.0:5432", "0.0.0.0:5432=", "0.0.0.0:5432=0", "0.0.0.0:5432=65536", "0.0.0.0:5432=²", "x=1", "0.0.0.0:1=1;"):
        with pytest.raises(InvalidInput):
            parse_tcp(text)


machines = st.lists(
    st.builds(
        Member,
        id=st.text(max_size=40),
        name=st.text(max_size=70),
        address=st.one_of(st.ip_addresses().map(str), st.text(max_size=40)),
        metadata=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
        cordoned=st.booleans(),
        router=st.one_of(
            st.none(),
            st.builds(
                RouterReport,
                machine=st.just(""),
                listen=st.lists(st.one_of(st.sampled_from(["0.0.0.0:80", "[::]:80", "*:81", A]), st.text(max_size=30)), max_size=3).map(
                    tuple
                ),
                tls_listen=st.lists(st.one_of(st.sampled_from(["0.0.0.0:443", "[::]:443"]), st.text(max_size=30)), max_size=3).map(tuple),
            ),
        ),
    ),
    max_size=5,
    unique_by=lambda member: member.id,
)
"""Machines as nobody should ever report them."""


@given(machines)
def test_whatever_machines_report_each_is_in_every_pool_or_left_out_with_a_reason_and_what_is_used_is_plain(members: list[Member]) -> None:
    found = plan(members, ALL)
    names = labels(members)
    assert len(set(names.values())) == len(members)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names.values())
    told = sorted([(one.pool, one.name) for one in found.backends] + [(one.pool, one.name) for one in found.left])
    assert told == sorted((pool, name) for name in names.values() for pool in ("http", "tcp:5432", "tls"))
    assert all(is_router(backend.address) and (not backend.check or is_router(backend.check)) for backend in found.backends)
    assert all(left.reason.isprintable() for left in found.left)
