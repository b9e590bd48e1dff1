"""From keys to a configuration: tables of keys, and nginx's own judgement of whatever they hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.model import Entry
from argosy.router import render as rendering
from argosy.router.render import SETTINGS, TEMPLATE, Fragments, Settings, check_settings, hostnames, render, routes_of, upstream_name
from argosy.router.sources import read_sources
from tests.router.web import needs_nginx

GOOD = {"hello/hello@1": Entry("10.0.0.1:3000")}
SOURCES = read_sources()
LOCAL = Settings(listen=("127.0.0.1:23099",), domain="example", nofile=1024)


def text(keys: dict[str, Entry], chosen: Settings = LOCAL, names: dict[str, tuple[str, ...]] | None = None) -> str:
    return render(routes_of(keys, names or {}, chosen.domain), chosen, SOURCES)


def accepted(config: str, folder: Path) -> str:
    """What nginx says against a configuration, "" when it takes it."""
    (folder / "nginx.conf").write_text(config)
    command = ["nginx", "-t", "-q", "-p", "./", "-e", "stderr", "-c", "nginx.conf"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stderr


def test_the_seed_s_app_is_served_at_its_name_under_the_domain() -> None:
    keys = {"hello/hello@1": Entry("10.0.0.1:3000", ttl=60), "hello/hello@2": Entry("10.0.0.2:3000", ttl=60)}
    routes = routes_of(keys, {}, "example")
    assert routes.refused == ()
    (app,) = routes.apps
    assert app.hosts == ("hello.example",)
    assert [(server.instance, server.targets) for server in app.servers] == [
        ("hello@1", ("10.0.0.1:3000",)),
        ("hello@2", ("10.0.0.2:3000",)),
    ]
    config = render(routes, LOCAL, SOURCES)
    assert "server_name hello.example;" in config
    assert "server 10.0.0.1:3000 max_fails=0;  # hello@1\n" in config


def test_without_a_domain_an_app_answers_to_its_name_with_anything_behind_it() -> None:
    assert routes_of(GOOD, {}, "").apps[0].hosts == ("hello", "hello.*")


def test_the_result_depends_neither_on_the_order_of_keys_nor_on_when_they_end() -> None:
    keys = {f"app{number}/i": Entry(f"10.0.0.{number}:80") for number in range(1, 9)}
    refreshed = {key: msgspec.structs.replace(entry, ttl=60, expires=5.0) for key, entry in reversed(keys.items())}
    assert text(keys) == text(refreshed)


REFUSED = [
    ("Hello/1", Entry("10.0.0.1:80"), "a-z", "an app in upper case"),
    ("Shop/1", Entry("10.0.0.1:80"), "; write shop", "an app in upper case, with what to write"),
    ("shop/1", Entry("http://127.0.0.1:9101"), "is a URL, not an address (write 127.0.0.1:9101)", "a URL"),
    ("_settings/shop", Entry("max_body=1x"), "it is a size such as 100m or 10g", "settings that break a rule"),
    ("_settings/Shop", Entry("max_body=1g"), "; write shop", "settings for an app that cannot be"),
    ("_settings/shop/1", Entry("max_body=1g"), "an app's name is part of a host name", "settings for an instance"),
    ("_settings/shop", Entry(directory=True), "settings are a line of text", "a directory of settings"),
    ("a b/1", Entry("10.0.0.1:80"), "a-z", "an app with a space"),
    ("x;}/1", Entry("10.0.0.1:80"), "a-z", "an app that would leave its block"),
    ("shop", Entry("10.0.0.1:80"), "an instance has a name", "an address where a directory is expected"),
    ("shop/1/2", Entry("10.0.0.1:80"), "letters, digits", "a key too deep"),
    ("shop/a\nb", Entry("10.0.0.1:80"), "letters, digits", "an instance of two lines"),
    ("shop/1", Entry(directory=True), "a directory where an address", "a directory in an instance's place"),
    ("shop/1", Entry("AAAA", binary=True), "not text", "bytes"),
    ("shop/1", Entry(""), "not HOST:PORT", "an empty value"),
    ("shop/1", Entry("127.0.0.1:80; } server {"), "the port", "an injected block"),
    ("shop/1", Entry("127.0.0.1:80\n"), "the port", "a line break"),
    ("shop/1", Entry("$host:80"), "neither an IPv4", "a variable"),
    ("shop/1", Entry("'\"`{}#\\:80"), "neither an IPv4", "everything that quotes"),
    ("shop/1", Entry("x" * 10_000), "not HOST:PORT", "10,000 characters"),
    ("shop/1", Entry("☃:80"), "neither an IPv4", "a snowman"),
    ("shop/1", Entry("{{ apps }}:80"), "neither an IPv4", "a template's own syntax"),
    ("shop/1", Entry("nowhere:80"), "does not resolve", "a name that does not resolve"),
    ("/1", Entry("10.0.0.1:80"), "an app has a name", "no app"),
    (f"{'.'.join(['a' * 49] * 4)}/1", Entry("10.0.0.1:80"), "more than 253", "a host name too long under its domain"),
]


@pytest.mark.parametrize(("key", "entry", "rule", "why"), REFUSED, ids=[row[3] for row in REFUSED])
def test_a_bad_key_is_refused_by_name_with_its_rule_and_disturbs_no_other(key: str, entry: Entry, rule: str, why: str) -> None:
    domain = ".".join(["b" * 30] * 2) if "253" in rule else "example"
    routes = routes_of({**GOOD, key: entry}, {"nowhere": ()}, domain)
    (refused,) = routes.refused
    assert rule in refused.reason
    assert refused.key.startswith("/services/web/")
    assert refused.key.isprintable()
    assert len(refused.key + refused.reason) < 1000
    assert [server.targets for app in routes.apps if app.name == "hello" for server in app.servers] == [("10.0.0.1:3000",)]


def test_a_known_app_without_a_good_instance_is_served_as_unavailable() -> None:
    for keys in ({"shop": Entry(directory=True)}, {"shop/1": Entry("bad")}):
        routes = routes_of(keys, {}, "example")
        assert [(app.name, app.servers) for app in routes.apps] == [("shop", ())]
        config = render(routes, LOCAL, SOURCES)
        assert "server_name shop.example;" in config
        assert "return 503" in config
        assert "upstream argosy" not in config


def test_host_names_are_handed_to_nginx_as_the_addresses_they_resolve_to() -> None:
    keys = {
        "shop/1": Entry("web.internal:80"),
        "shop/2": Entry("bad name:80"),
        "shop/3": Entry("10.0.0.9:80"),
        "dir": Entry(directory=True),
    }
    assert hostnames(keys) == {"web.internal"}
    routes = routes_of(keys, {"web.internal": ("10.0.0.2", "10.0.0.1", "fd00::1")}, "example")
    assert routes.apps[1].servers[0].targets == ("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80")
    assert "web.internal" not in render(routes, LOCAL, SOURCES)


def test_a_host_name_that_has_not_been_asked_yet_waits_and_is_not_refused() -> None:
    routes = routes_of({"shop/1": Entry("web.internal:80"), **GOOD}, {}, "example")
    assert routes.refused == ()
    assert [(app.name, len(app.servers)) for app in routes.apps] == [("hello", 1), ("shop", 0)]


def test_two_instances_at_one_address_are_one_server() -> None:
    keys = {"shop/1": Entry("10.0.0.1:80"), "shop/2": Entry("10.0.0.1:80"), "shop/3": Entry("10.0.0.2:80")}
    (app,) = routes_of(keys, {}, "example").apps
    assert [server.targets for server in app.servers] == [("10.0.0.1:80",), (), ("10.0.0.2:80",)]
    assert text(keys).count("server 10.0.0.1:80 ") == 2, "once for kept connections, once for the others"


def test_more_than_a_router_can_serve_is_refused_by_name_and_the_first_by_name_are_served() -> None:
    keys = {f"a{number:05}/1": Entry("10.0.0.1:80") for number in range(rendering.MAX_APPS + 2)}
    routes = routes_of(keys, {}, "example")
    assert len(routes.apps) == rendering.MAX_APPS
    assert [refused.key for refused in routes.refused] == ["/services/web/a05000/1", "/services/web/a05001/1"]
    keys = {f"a/{number:05}": Entry(f"10.0.{number // 250}.{number % 250 + 1}:80") for number in range(rendering.MAX_INSTANCES + 1)}
    routes = routes_of(keys, {}, "example")
    assert len(routes.apps[0].servers) == rendering.MAX_INSTANCES
    assert "at most 500 instances" in routes.refused[0].reason


BAD_SETTINGS = [
    (Settings(listen=()), "listen is empty", "no address to listen on"),
    (Settings(listen=("0.0.0.0",)), "no address to listen on", "no port"),
    (Settings(listen=("0.0.0.0:80 ssl",)), "no address to listen on", "nginx's own options"),
    (Settings(listen=("0.0.0.0:0",)), "no address to listen on", "port 0"),
    (Settings(listen=("::1:80",)), "no address to listen on", "IPv6 without brackets"),
    (Settings(domain="a b"), "domain is", "a domain with a space"),
    (Settings(include=("extra.conf",)), "include has", "a path that is not absolute"),
    (Settings(include=("/a\n}",)), "include has", "a path of two lines"),
    (Settings(trusted=("10.0.0.0/99",)), "trusted has", "a network that is none"),
    (Settings(listen=("[fe80::1%; } server {]:80",)), "no address to listen on", "IPv6 with a zone"),
    (Settings(trusted=("fe80::1%; }",)), "trusted has", "a network with a zone"),
    (Settings(workers="many"), "workers is", "a number that is none"),
]


@pytest.mark.parametrize(("chosen", "said", "why"), BAD_SETTINGS, ids=[row[2] for row in BAD_SETTINGS])
def test_a_wrong_setting_is_named(chosen: Settings, said: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_settings(chosen)


@needs_nginx
def test_nginx_takes_every_setting_at_once(tmp_path: Path) -> None:
    extra = tmp_path / 'an "odd" \\ file; with $signs.conf'
    extra.write_text("server { listen 127.0.0.1:23098; return 204; }")
    chosen = check_settings(
        Settings(
            listen=("127.0.0.1:23099", "[::1]:23099", "*:23097"),
            domain="apps.example",
            include=(str(extra),),
            trusted=("10.0.0.0/8", "fd00::/8", "192.168.1.1"),
            access_log=True,
            nofile=1024,
        )
    )
    assert accepted(text({**GOOD, "gone": Entry(directory=True), "a.b_c-d/1": Entry("[fd00::1]:80")}, chosen), tmp_path) == ""


@needs_nginx
def test_nginx_takes_thousands_of_the_longest_names_without_a_domain(tmp_path: Path) -> None:
    longest = ".".join(["a" * 63] * 3)
    keys = {f"{number}{longest[:190]}/1": Entry(f"10.0.{number % 250}.1:80") for number in range(1000)}
    assert accepted(text(keys, Settings(listen=LOCAL.listen, nofile=1024)), tmp_path) == ""


HOSTILE = st.one_of(
    st.text(max_size=30),
    st.text(alphabet=" \t\n;{}$'\"\\#~*/:.@%-_0123456789ab", max_size=30),
    st.sampled_from(["10.0.0.1:80", "[::1]:80", "web:80", "127.0.0.1:80; } server {", "${host}:80", "hello", "hello.x", "a" * 300]),
)


@needs_nginx
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.dictionaries(
        st.one_of(HOSTILE, st.tuples(HOSTILE, HOSTILE).map("/".join)),
        st.builds(Entry, HOSTILE, st.booleans(), st.booleans()),
        max_size=6,
    ),
    domain=st.sampled_from(["", "example"]),
)
def test_whatever_is_in_the_keys_nginx_takes_the_result_and_good_routes_stay(tmp_path: Path, keys: dict[str, Entry], domain: str) -> None:
    keys = {**keys, "good-app/1": Entry("10.9.9.9:4242")}
    names = dict.fromkeys(hostnames(keys), ("10.0.0.7",))
    routes = routes_of(keys, names, domain)
    config = render(routes, msgspec.structs.replace(LOCAL, domain=domain), SOURCES)
    assert accepted(config, tmp_path) == ""
    assert "server 10.9.9.9:4242 max_fails" in config
    assert len(routes.refused) <= len(keys) - 1
    assert sum(config.count(f"server_name {' '.join(app.hosts)};") for app in routes.apps) == len(routes.apps)


def test_an_operator_s_template_replaces_ours_and_may_extend_it(tmp_path: Path) -> None:
    own = tmp_path / "nginx.conf.j2"
    own.write_text("{% for app in apps %}{{ app.name }} {{ app.servers[0].address }}{% endfor %}")
    assert render(routes_of(GOOD, {}, ""), LOCAL, read_sources(tmp_path)) == "hello 10.0.0.1:3000"
    own.write_text('{% extends "argosy/nginx.conf.j2" %}{% block app_server %}    add_header X-App {{ app.name }};\n{% endblock %}')
    config = render(routes_of(GOOD, {}, "example"), LOCAL, read_sources(tmp_path))
    assert config.count("add_header X-App hello;") == 1
    assert "server_name hello.example;" in config


BAD_TEMPLATES = [
    ("{% for %}", "line 1 cannot be rendered", "a template with a mistake"),
    ("{{ nonsense }}", "'nonsense' is undefined", "a value that does not exist"),
    ("{% include 'x.j2' %}", "x.j2 does not exist", "a file that is not there"),
]


@pytest.mark.parametrize(("template", "said", "why"), BAD_TEMPLATES, ids=[row[2] for row in BAD_TEMPLATES])
def test_an_operator_s_mistake_is_named(tmp_path: Path, template: str, said: str, why: str) -> None:
    (tmp_path / "nginx.conf.j2").write_text(template)
    with pytest.raises(InvalidInput, match=said):
        render(routes_of(GOOD, {}, ""), LOCAL, read_sources(tmp_path))


def test_a_folder_without_the_template_is_refused_with_how_to_begin_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"holds no nginx.conf.j2 \(begin it with"):
        read_sources(tmp_path)


def test_only_what_changed_is_rendered_anew_and_the_text_is_the_same() -> None:
    fragments = Fragments()
    keys = {f"app{number}/1": Entry(f"10.0.0.{number}:80") for number in range(1, 50)}
    assert render(routes_of(keys, {}, "example"), LOCAL, SOURCES, (), fragments) == text(keys)
    changed = {**keys, "app7/1": Entry("10.0.9.9:80"), "new/1": Entry("10.0.0.99:80")}
    del changed["app8/1"]
    before = fragments.kept
    assert render(routes_of(changed, {}, "example"), LOCAL, SOURCES, (), fragments) == text(changed)
    assert [app for app, text in fragments.kept.items() if text is not before.get(app)] == ["app7", "new"]


def test_names_of_upstreams_differ_in_their_first_bytes_and_in_length() -> None:
    names = [upstream_name(f"app{number:05}") for number in range(1000)]
    assert len(set(names)) == 1000
    assert len({name[:8] for name in names}) == 1000
    assert len({len(name) for name in names}) == 61


def test_apps_share_a_server_unless_something_is_set_for_one() -> None:
    keys = {f"app{number}/i": Entry(f"10.0.0.{number}:80") for number in range(1, 9)}
    servers = text(keys).count("  server {")
    assert text({**keys, "app9/i": Entry("10.0.0.9:80")}).count("  server {") == servers
    assert text({**keys, f"{SETTINGS}/app1": Entry("max_body=1g")}).count("  server {") == servers + 1


def test_an_operators_template_has_a_server_for_each_app(tmp_path: Path) -> None:
    (tmp_path / TEMPLATE).write_text('{% extends "argosy/nginx.conf.j2" %}{% block app_server %}    # of {{ app.name }}\n{% endblock %}')
    routes = routes_of({"one/i": Entry("10.0.0.1:80"), "two/i": Entry("10.0.0.2:80")}, {}, "example")
    config = render(routes, LOCAL, read_sources(tmp_path))
    assert ("# of one" in config, "# of two" in config, "argosy_app" in config) == (True, True, False)


def test_app_may_be_called_like_a_word_of_nginx(tmp_path: Path) -> None:
    keys = {f"{name}/i": Entry("10.0.0.1:80") for name in ("default", "include", "hostnames", "volatile", "map", "server")}
    for domain in ("", "example"):
        config = render(routes_of(keys, {}, domain), msgspec.structs.replace(LOCAL, domain=domain), SOURCES)
        assert accepted(config, tmp_path) == ""
