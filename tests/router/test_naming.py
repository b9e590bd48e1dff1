"""Which apps, instances and addresses make a route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.router.naming import check_app, check_domain, check_instance, parse_address, printable

APPS = [
    ("hello", True, "a plain label"),
    ("a", True, "one letter"),
    ("2048", True, "digits only: it stands before a domain"),
    ("my-app", True, "a hyphen inside"),
    ("my_app", True, "an underscore inside: old clusters have them and nginx serves them"),
    ("shop.eu", True, "dots join labels"),
    ("a" * 63, True, "the longest label"),
    ("", False, "no name"),
    ("a" * 64, False, "a label too long"),
    (".".join(["a" * 60] * 4), False, "labels good, name too long"),
    ("Hello", False, "upper case"),
    ("-a", False, "begins with a hyphen"),
    ("a-", False, "ends with a hyphen"),
    ("_argosy", False, "begins with an underscore, as the router's own host does"),
    ("a..b", False, "an empty label"),
    (".a", False, "begins with a dot"),
    ("a.", False, "ends with a dot"),
    ("*", False, "a wildcard"),
    ("~^.*$", False, "a regular expression to nginx"),
    ("a b", False, "a space"),
    ("a;b", False, "a semicolon"),
    ("a\nb", False, "a line break inside"),
    ("a\n", False, "a line break at the end, which $ in a pattern would let through"),
    ("bücher", False, "not ASCII"),
    ("a١", False, "a digit that is not ASCII"),
    ("$host", False, "a variable"),
    ("{{ 7 * 7 }}", False, "a template's own syntax"),
]


@pytest.mark.parametrize(("app", "good", "why"), APPS, ids=[row[2] for row in APPS])
def test_an_app_is_part_of_a_host_name(app: str, good: bool, why: str) -> None:
    assert (check_app(app) == "") is good


INSTANCES = [
    ("hello@1", True, "what the seeds' sidekicks write"),
    ("hello@1.service", True, "a unit's name"),
    ("m1:web:3000", True, "what registrators write"),
    ("_x", True, "an underscore first"),
    ("", False, "no name"),
    ("a/b", False, "a key too deep"),
    ("a b", False, "a space"),
    ("a\n}", False, "a line break, which would end a comment in the configuration"),
    ("@1", False, "begins with @"),
    ("x" * 201, False, "too long"),
    ("é", False, "not ASCII"),
]


@pytest.mark.parametrize(("instance", "good", "why"), INSTANCES, ids=[row[2] for row in INSTANCES])
def test_an_instance_is_named_with_few_characters(instance: str, good: bool, why: str) -> None:
    assert (check_instance(instance) == "") is good


ADDRESSES = [
    ("10.0.0.1:3000", "10.0.0.1:3000", "IPv4"),
    ("[fd00::1]:80", "[fd00::1]:80", "IPv6 in brackets"),
    ("[FD00:0::1]:80", "[fd00::1]:80", "IPv6 is written one way"),
    ("web-1.internal:8080", "web-1.internal:8080", "a host name"),
    ("Web:80", "web:80", "host names in lower case"),
    ("my_container:80", "my_container:80", "a container's name"),
    ("10.0.0.1:65535", "10.0.0.1:65535", "the highest port"),
]


@pytest.mark.parametrize(("text", "normal", "why"), ADDRESSES, ids=[row[2] for row in ADDRESSES])
def test_an_address_is_a_host_and_a_port(text: str, normal: str, why: str) -> None:
    assert str(parse_address(text)) == normal


BAD_ADDRESSES = [
    ("", "nothing"),
    ("10.0.0.1", "no port"),
    (":80", "no host"),
    ("10.0.0.1:0", "port 0"),
    ("10.0.0.1:65536", "a port too high"),
    ("10.0.0.1:080", "a port with a leading zero"),
    ("10.0.0.1:+80", "a sign"),
    ("10.0.0.1:８０", "digits that are not ASCII"),
    ("10.0.0.1:80 ", "a space at the end"),
    ("10.0.0.1:80\n", "a line break at the end"),
    ("127.0.0.1:80; } server {", "an attempt to leave the block"),
    ("127.0.0.1:80;", "a semicolon"),
    ("$http_host:80", "a variable"),
    ("'a':80", "quotes"),
    ('"a":80', "double quotes"),
    ("a{b}:80", "braces"),
    ("a#b:80", "a comment"),
    ("a\\b:80", "a backslash"),
    ("unix:/run/docker.sock:80", "a socket's path"),
    ("user@host:80", "a user"),
    ("http://10.0.0.1:80", "a URL"),
    ("10.0.0.1:3000/path", "a path"),
    ("fd00::1:80", "IPv6 without brackets"),
    ("[fd00::1%eth0]:80", "IPv6 with a zone"),
    ("[10.0.0.1]:80", "IPv4 in brackets"),
    ("10.0.0:80", "three numbers"),
    ("10.0.0.256:80", "a number above 255"),
    ("010.0.0.1:80", "an octal number"),
    ("127.1:80", "what old libraries take for 127.0.0.1"),
    ("0x7f000001:80", "a hexadecimal address"),
    ("2130706433:80", "a decimal address"),
    ("0.0.0.0:80", "every address and none"),
    ("[::]:80", "every IPv6 address and none"),
    ("224.0.0.1:80", "multicast"),
    ("169.254.169.254:80", "where clouds hand out credentials"),
    ("[fe80::1]:80", "of one link only"),
    ("255.255.255.255:80", "broadcast"),
    ("bücher:80", "not ASCII"),
    ("a..b:80", "an empty label"),
    ("-a:80", "begins with a hyphen"),
    ("a" * 10_000 + ":80", "endless"),
    ("\0:80", "a NUL"),
]


@pytest.mark.parametrize(("text", "why"), BAD_ADDRESSES, ids=[row[1] for row in BAD_ADDRESSES])
def test_anything_else_is_refused_with_the_rule_on_one_short_line(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_address(text)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 400


@given(st.text(max_size=40))
def test_whatever_is_let_through_holds_nothing_that_nginx_would_read_as_its_own_language(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidInput:
        return
    assert not set(str(address)) & set(" \t\r\n;{}$'\"\\#~*/")


@given(st.text(max_size=40))
def test_what_is_printable_is_one_line_and_short(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text * 100, 50)) <= 50 * 10


@pytest.mark.parametrize(
    ("domain", "good"), [("", True), ("example", True), ("apps.example.com", True), ("*.example", False), ("a b", False)]
)
def test_a_domain_is_lower_case_labels(domain: str, good: bool) -> None:
    assert (check_domain(domain) == "") is good


URLS = [
    ("http://127.0.0.1:9101", "write 127.0.0.1:9101"),
    ("http://127.0.0.1:9101/", "write 127.0.0.1:9101"),
    ("HTTPS://user@web.internal/path?x", "write web.internal:443"),
    ("tcp://[fd00::1]:5432", "write [fd00::1]:5432"),
    ("http://", "write 10.0.0.1:3000"),
    ("http://http://a:1", "write 10.0.0.1:3000"),
]


@pytest.mark.parametrize(("text", "remedy"), URLS)
def test_a_url_in_an_address_s_place_is_answered_with_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_address(text)
    assert remedy in caught.value.remedy


def test_an_app_in_upper_case_is_answered_with_what_to_write() -> None:
    assert check_app("Hello").endswith("; write hello")
    assert check_app(" Shop.EU ").endswith("; write shop.eu")
    assert "; write" not in check_app("-A")
