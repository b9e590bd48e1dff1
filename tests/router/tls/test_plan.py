"""Which certificate which host gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.router.tls.plan import Certificate, check_name, choose, faces


def certificate(name: str, *names: str) -> Certificate:
    return Certificate(name, names, 9e9, f"tls/{name}.crt", f"tls/{name}.key")


A = certificate("a", "*.example.org", "example.org")
B = certificate("b", "shop.example.org", "other.net")
C = certificate("c", "*.shop.example.org", "*.example.org")

CHOICES: list[tuple[str, str, str]] = [
    ("a host that is named goes before a wildcard", "shop.example.org", "b"),
    ("a wildcard covers one label", "hello.example.org", "a"),
    ("not two", "a.b.example.org", "a"),  # the default, not by its wildcard
    ("a wildcard further down", "x.shop.example.org", "c"),
    ("a wildcard does not cover its own domain; that is named", "example.org", "a"),
    ("a host that nobody covers gets the first", "foreign.com", "a"),
    ("a single label gets the first", "hello", "a"),
]


@pytest.mark.parametrize(("_why", "host", "expected"), CHOICES, ids=[row[0] for row in CHOICES])
def test_the_certificate_of_a_host(_why: str, host: str, expected: str) -> None:
    chosen = choose(host, (A, B, C))
    assert chosen is not None
    assert chosen.name == expected


def test_where_there_is_no_certificate_there_is_one_face_without() -> None:
    assert choose("hello.example.org", ()) is None
    (face,) = faces("hello", ("hello.example.org",), ())
    assert (face.hosts, face.certificate) == (("hello.example.org",), None)


FACES: list[tuple[str, str, tuple[str, ...], tuple[Certificate, ...], tuple[str, ...], dict[str, tuple[str, ...]]]] = [
    ("with a domain: one face", "shop", ("shop.example.org",), (A, B), (), {"b": ("shop.example.org",)}),
    ("any domain: the default where it is as good", "hello", ("hello", "hello.*"), (A, B), ("hello",), {"a": ("hello", "hello.*")}),
    (
        "any domain: its own certificate for a host that is named",
        "shop",
        ("shop", "shop.*"),
        (A, B),
        ("shop",),
        {"a": ("shop", "shop.*"), "b": ("shop.example.org",)},
    ),
    (
        "any domain: a second wildcard",
        "hello",
        ("hello", "hello.*"),
        (B, A),
        ("hello",),
        {"b": ("hello", "hello.*"), "a": ("hello.example.org",)},
    ),
    (
        "an app of two labels",
        "x.shop",
        ("x.shop", "x.shop.*"),
        (A, C),
        ("x.shop",),
        {"a": ("x.shop", "x.shop.*"), "c": ("x.shop.example.org",)},
    ),
    (
        "a host that belongs to an app with a longer name is left to it",
        "shop",
        ("shop", "shop.*"),
        (A, B),
        ("shop", "shop.example"),
        {"a": ("shop", "shop.*")},
    ),
]


@pytest.mark.parametrize(("_why", "app", "hosts", "known", "apps", "expected"), FACES, ids=[row[0] for row in FACES])
def test_the_faces_of_an_app(
    _why: str, app: str, hosts: tuple[str, ...], known: tuple[Certificate, ...], apps: tuple[str, ...], expected: dict[str, tuple[str, ...]]
) -> None:
    assert {face.certificate.name if face.certificate else "": face.hosts for face in faces(app, hosts, known, apps)} == expected


@pytest.mark.parametrize("name", ["example.org", "*.example.org", "a", "x_1.org"])
def test_names_that_are_taken(name: str) -> None:
    assert check_name(name) == ""


@pytest.mark.parametrize("name", ["", "*", "*.", "a.*.org", "**.org", "*a.org", "a b", "a;b", "A.org", "a.org\n", "{", "*.*.org"])
def test_names_that_are_not(name: str) -> None:
    assert check_name(name)


HOSTS = st.from_regex(r"\A[ab]{1,2}(\.[ab]{1,2}){0,3}\Z")
NAMES = st.one_of(HOSTS, HOSTS.map(lambda host: f"*.{host}"))


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=4), st.lists(HOSTS, min_size=1, max_size=6, unique=True))
def test_no_host_has_two_faces_and_none_is_lost(named: list[list[str]], apps: list[str]) -> None:
    known = tuple(certificate(str(number), *names) for number, names in enumerate(named))
    hosts: list[str] = []
    for app in apps:
        mine = [host for face in faces(app, (app, f"{app}.*"), known, apps) for host in face.hosts]
        assert {app, f"{app}.*"} <= set(mine)
        assert all(host == app or host.startswith(f"{app}.") for host in mine)
        hosts += mine
    assert len(hosts) == len(set(hosts))
