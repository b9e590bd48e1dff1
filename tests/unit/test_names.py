from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidUnit
from argosy.unit.names import LONGEST_NAME, check_name, instance_of, is_instance, is_name, is_template, normalize, prefix_of, template_of

GOOD = [
    "a.service",
    "foo@.service",
    "foo@1.service",
    "foo@a@b.service",
    "foo@1.2.service",
    "a-b_c:d.timer",
    r"dev-disk\x2dby.mount",
    "web..service",
    "x.socket",
    "y.slice",
    "a" * (LONGEST_NAME - 8) + ".service",
]
BAD = [
    ("", "cannot be empty"),
    ("web", "must contain a dot and a type"),
    ("web.", "cannot end in a dot"),
    ("web.exe", "ends in 'exe', which is no unit type"),
    ("web.service\n", "is no unit type"),
    (".service", "nothing before .service"),
    ("..service", "cannot start with '.'"),
    ("@.service", "cannot start with '@'"),
    ("@1.service", "cannot start with '@'"),
    ("../etc/passwd.service", "cannot start with '.'"),
    ("a/../b.service", "holds '/'"),
    ("a b.service", "holds ' '"),
    ("a\0b.service", r"holds '\x00'"),
    ("a\nb.service", r"holds '\n'"),
    ("grün.service", "holds 'ü'"),
    ("☃.service", "holds '☃'"),
    ("a$(id).service", "holds '$'"),
    ("a@1.mount", "a mount cannot be a template"),
    ("a" * 292 + ".service", "has 300 characters; the most is 255"),
    ("a" * (LONGEST_NAME - 7) + ".service", "has 256 characters"),
]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_is_good(name: str) -> None:
    check_name(name)
    assert is_name(name)


@pytest.mark.parametrize(("name", "rule"), BAD)
def test_a_bad_name_is_refused_with_the_rule_that_it_breaks(name: str, rule: str) -> None:
    with pytest.raises(InvalidUnit) as caught:
        check_name(name)
    assert rule in caught.value.message
    assert len(caught.value.message) < 250
    assert not is_name(name)


@given(st.text(max_size=40))
def test_a_good_name_is_a_plain_file_name(name: str) -> None:
    if is_name(name):
        assert "/" not in name
        assert name.isascii()
        assert name.isprintable()
        assert not name.startswith(".")


PARTS = [
    ("foo.service", "foo", "", "", False, False),
    ("foo@.service", "foo", "", "foo@.service", True, False),
    ("foo@1.service", "foo", "1", "foo@.service", False, True),
    ("foo@a@b.timer", "foo", "a@b", "foo@.timer", False, True),
    ("foo@1.2.service", "foo", "1.2", "foo@.service", False, True),
    ("foo", "foo", "", "", False, False),
]


@pytest.mark.parametrize(("name", "prefix", "instance", "template", "templates", "instances"), PARTS)
def test_a_name_falls_into_parts(name: str, prefix: str, instance: str, template: str, templates: bool, instances: bool) -> None:
    assert (prefix_of(name), instance_of(name), template_of(name)) == (prefix, instance, template)
    assert (is_template(name), is_instance(name)) == (templates, instances)


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("web", "web.service"),
        ("web.service", "web.service"),
        ("web@1", "web@1.service"),
        ("a.timer", "a.timer"),
        ("a.b", "a.b.service"),
        ("a.target", "a.target.service"),
        ("", ".service"),
    ],
)
def test_a_service_needs_no_suffix_as_with_fleetctl(given_name: str, expected: str) -> None:
    assert normalize(given_name) == expected
    assert normalize(expected) == expected
