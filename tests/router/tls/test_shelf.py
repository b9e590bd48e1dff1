"""The operator's folder of certificates: what is taken up, what is not and why, and what goes on meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.router.tls.plan import Shelved
from argosy.router.tls.shelf import Shelf
from tests.router.tls.certs import DAY, Made, key_of, make, put

NOW = 1_800_000_000.0


class Desk:
    """A folder, its shelf, and what was said last."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "operator"
        self.kept = place / "router" / "tls"
        self.folder.mkdir()
        self.shelf = Shelf(self.folder, self.kept)
        self.last = Shelved()

    def look(self, now: float = NOW) -> Shelved:
        """Two looks, as a change is taken up only when the folder has come to rest."""
        for _ in range(2):
            self.last = self.shelf.look(now) or self.last
        return self.last

    def served(self, now: float = NOW) -> dict[str, bytes]:
        """The certificates on the shelf by name, as nginx would read them."""
        return {one.name: (self.kept.parent / one.cert).read_bytes() for one in self.look(now).certificates}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


GOOD = make(["*.example.org"], NOW)
OTHER = make(["other.net"], NOW)


def test_pairs_and_bundles_are_served_in_the_order_of_their_names(desk: Desk) -> None:
    put(desk.folder, "b", GOOD.cert, GOOD.key)
    (desk.folder / "a.pem").write_bytes(OTHER.key + OTHER.cert)
    third = make(["third.net"], NOW)
    (desk.folder / "c.pem").write_bytes(third.cert)
    (desk.folder / "c.key").write_bytes(third.key)
    (desk.folder / "README").write_text("not a certificate")
    shelved = desk.look()
    assert [(one.name, one.names) for one in shelved.certificates] == [
        ("a", ("other.net",)),
        ("b", ("*.example.org",)),
        ("c", ("third.net",)),
    ]
    assert shelved.complaints == ()
    assert desk.served() == {"a": OTHER.cert, "b": GOOD.cert, "c": third.cert}
    key = desk.kept.parent / shelved.certificates[0].key
    assert (key.read_bytes(), key.stat().st_mode & 0o777, desk.kept.stat().st_mode & 0o777) == (OTHER.key, 0o600, 0o700)


def test_files_that_are_none_or_are_not_named_in_plain_text_harm_no_other(desk: Desk) -> None:
    put(desk.folder, "z", OTHER.cert, OTHER.key)
    put(desk.folder, "z\udcfcrich", GOOD.cert, GOOD.key)
    os.mkfifo(desk.folder / "pipe.pem")
    shelved = desk.look()
    assert [one.name for one in shelved.certificates] == ["z"]
    assert [complaint.partition(": ")[2] for complaint in shelved.complaints] == [
        "pipe.pem is no file",
        "is not named in plain text: rename it",
    ]


def test_what_is_being_taken_up_is_not_tidied_away_meanwhile(desk: Desk) -> None:
    with ThreadPoolExecutor(2) as threads:
        for number in range(5):
            for name in "abcdef":
                renewed = make([f"{name}.org"], NOW)
                put(desk.folder, name, renewed.cert, renewed.key)
            looking = threads.submit(desk.look)
            while not looking.done():
                threads.submit(desk.shelf.tidy, "").result()
            shelved = looking.result()
            assert len(shelved.certificates) == 6
            assert all((desk.kept.parent / file).exists() for one in shelved.certificates for file in (one.cert, one.key)), number


def encrypted() -> Made:
    key = ec.generate_private_key(ec.SECP256R1())
    return Made(make(["a.org"], NOW, key=key).cert, key_of(key, b"secret"))


X400 = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x02\xa3\x00")
FIRST_KEY = ec.generate_private_key(ec.SECP256R1())
WRONG: list[tuple[str, Callable[[], Made], str]] = [
    ("another's key", lambda: Made(GOOD.cert, OTHER.key), "another's key"),
    ("expired", lambda: make(["a.org"], NOW, begin=-9 * DAY, end=-2 * DAY), "expired on 2027-01-13"),
    ("not yet valid", lambda: make(["a.org"], NOW, begin=2 * DAY), "not valid before 2027-01-17"),
    ("a key with a passphrase", encrypted, "passphrase"),
    ("no certificate", lambda: Made(b"", GOOD.key), "no certificate"),
    ("no key", lambda: Made(GOOD.cert, b"-----BEGIN PRIVATE KEY-----\n"), "no private key"),
    ("the key twice", lambda: Made(GOOD.key, GOOD.key), "no certificate"),
    ("half a certificate", lambda: Made(GOOD.cert[:200], GOOD.key), "no certificate"),
    ("bytes", lambda: Made(bytes(range(256)), bytes(range(256))), "no certificate"),
    ("no names", lambda: make([], NOW), "names no host"),
    ("only names that nobody can ask for", lambda: make(["a b", "*"], NOW), "names no host that could be served but a b, *"),
    ("the authority first", lambda: Made(OTHER.cert + GOOD.cert, GOOD.key), "must come first"),
    ("a kind of name that nobody knows", lambda: make([], NOW, extra=[X400]), "extensions that cannot be read"),
    ("a weak key", lambda: make(["a.org"], NOW, bits=1024), "ee key too small"),
    ("endless", lambda: Made(GOOD.cert * 3000, GOOD.key), "larger than any"),
]


@pytest.mark.parametrize(("_why", "make_it", "named"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_said_and_the_pair_before_goes_on(desk: Desk, _why: str, make_it: Callable[[], Made], named: str) -> None:
    wrong = make_it()
    put(desk.folder, "site", wrong.cert, wrong.key)
    put(desk.folder, "z", OTHER.cert, OTHER.key)
    shelved = desk.look()
    assert [one.name for one in shelved.certificates] == ["z"]
    (complaint,) = shelved.complaints
    assert complaint.startswith("certificate site is not served: ")
    assert named in complaint

    put(desk.folder, "site", GOOD.cert, GOOD.key)
    assert desk.served() == {"site": GOOD.cert, "z": OTHER.cert}
    put(desk.folder, "site", wrong.cert, wrong.key)
    assert desk.served() == {"site": GOOD.cert, "z": OTHER.cert}
    (complaint,) = desk.last.complaints
    assert named in complaint
    assert complaint.endswith("; the one before, until 2027-04-15, goes on")

    desk.shelf = Shelf(desk.folder, desk.kept)  # the router is started anew
    assert desk.served() == {"site": GOOD.cert, "z": OTHER.cert}


def test_a_change_is_taken_up_when_the_folder_has_come_to_rest(desk: Desk) -> None:
    put(desk.folder, "site", GOOD.cert, GOOD.key)
    assert desk.served() == {"site": GOOD.cert}
    assert desk.shelf.look(NOW) is None
    renewed = make(["*.example.org"], NOW)
    put(desk.folder, "site", cert=renewed.cert)
    assert desk.shelf.look(NOW) is None
    put(desk.folder, "site", key=renewed.key)
    assert desk.shelf.look(NOW) is None
    desk.last = desk.shelf.look(NOW) or Shelved()
    assert desk.last.complaints == ()
    assert desk.served() == {"site": renewed.cert}


def test_a_pair_that_is_removed_is_dropped_and_so_are_its_files_when_nginx_has_let_go(desk: Desk) -> None:
    put(desk.folder, "site", GOOD.cert, GOOD.key)
    put(desk.folder, "z", OTHER.cert, OTHER.key)
    first, second = desk.look().certificates
    (desk.folder / "site.crt").unlink()
    (desk.folder / "site.key").unlink()
    assert [one.name for one in desk.look().certificates] == ["z"]
    desk.shelf.tidy(f"ssl_certificate {first.cert};")
    assert (desk.kept.parent / first.key).exists()
    desk.shelf.tidy(f"ssl_certificate {second.cert};")
    assert not (desk.kept.parent / first.cert).exists()
    assert not (desk.kept.parent / first.key).exists()
    assert (desk.kept.parent / second.key).exists()


def test_half_a_pair_is_told(desk: Desk) -> None:
    put(desk.folder, "site", GOOD.cert)
    assert desk.look().complaints == ("certificate site is not served: site.key is missing",)


def test_a_folder_that_is_gone_takes_nothing_with_it(desk: Desk) -> None:
    put(desk.folder, "site", GOOD.cert, GOOD.key)
    assert desk.served() == {"site": GOOD.cert}
    desk.folder.rename(desk.folder.with_name("elsewhere"))
    assert desk.served() == {"site": GOOD.cert}
    assert "cannot be read: No such file" in desk.last.complaints[0]
    desk.shelf = Shelf(desk.folder, desk.kept)
    assert desk.served() == {"site": GOOD.cert}
    desk.folder.mkdir()
    assert desk.served() == {}
    assert desk.last.complaints == ()


def test_a_certificate_that_expires_is_announced_and_then_served_behind_those_that_have_not(desk: Desk) -> None:
    short = make(["a.org"], NOW, end=20 * DAY)
    put(desk.folder, "a", short.cert, short.key)
    put(desk.folder, "b", GOOD.cert, GOOD.key)
    assert desk.look().complaints == ()
    shelved = desk.look(NOW + 7 * DAY)
    assert shelved.complaints == ("certificate a expires on 2027-02-04",)
    shelved = desk.look(NOW + 21 * DAY)
    assert [one.name for one in shelved.certificates] == ["b", "a"]
    assert shelved.complaints == ("certificate a is served although it expired on 2027-02-04: replace it",)


def test_a_certificate_becomes_valid_by_itself(desk: Desk) -> None:
    early = make(["a.org"], NOW, begin=DAY)
    put(desk.folder, "a", early.cert, early.key)
    assert desk.look().certificates == ()
    assert [one.name for one in desk.look(NOW + DAY + 1).certificates] == ["a"]


def test_nothing_but_what_was_understood_reaches_nginx(desk: Desk) -> None:
    der = serialization.load_pem_private_key(GOOD.key, None)
    assert isinstance(der, ec.EllipticCurvePrivateKey)
    old = der.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    put(desk.folder, "a", b"Certificate:\n  Data\n" + GOOD.cert + OTHER.cert, b"# my key\n" + old)
    (one,) = desk.look().certificates
    assert (desk.kept.parent / one.cert).read_bytes() == GOOD.cert + OTHER.cert
    assert (desk.kept.parent / one.key).read_bytes() == GOOD.key


def test_a_kept_pair_that_was_tampered_with_is_not_used(desk: Desk) -> None:
    put(desk.folder, "a", GOOD.cert, GOOD.key)
    (one,) = desk.look().certificates
    (desk.kept.parent / one.cert).write_bytes(OTHER.cert)
    put(desk.folder, "a", OTHER.cert, GOOD.key)
    assert desk.look().certificates == ()


def test_what_is_said_is_said_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    put(desk.folder, "a", GOOD.cert, GOOD.key)
    put(desk.folder, "b", GOOD.cert)
    for _ in range(3):
        desk.look()
        put(desk.folder, "c", OTHER.cert, OTHER.key)
    assert caplog.text.count("certificate a for *.example.org is served until 2027-04-15") == 1
    assert caplog.text.count("b.key is missing") == 1
    assert caplog.text.count("certificate c for other.net") == 1
