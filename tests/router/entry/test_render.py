"""From pools to configurations, judged by nginx and HAProxy themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from argosy.errors import ArgosyError, InvalidInput, Unsuitable
from argosy.router.entry.plan import Backend, Member, Pool, Wanted, plan, pools
from argosy.router.entry.render import render_haproxy, render_nginx
from argosy.router.modules import module_of, stream_module
from argosy.router.sources import read_sources
from tests.router.entry.test_plan import ALL, machines, member
from tests.router.test_render import accepted
from tests.router.web import needs_nginx

SOURCES = read_sources()
HIGH = Wanted(("127.0.0.1:23099",), ("127.0.0.1:23098",), (("127.0.0.1:23097", 5432),))

needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin") is None, reason="haproxy is not installed (scripts/setup does)"
)


def module() -> str:
    """nginx's file for TCP, "" where it has none or needs none."""
    try:
        return stream_module()
    except Unsuitable:
        return ""


MODULE = module()

needs_stream = pytest.mark.skipif(
    "ngx_stream" not in MODULE, reason="nginx has no stream module (scripts/setup installs libnginx-mod-stream)"
)


def nginx_of(members: list[Member], wanted: Wanted, stream: str = "/m.so") -> str:
    return render_nginx(pools(wanted, plan(members, wanted).backends), wanted, SOURCES, nofile=1024, stream_module=stream)


def haproxy_of(members: list[Member], wanted: Wanted, interval: float = 0.2) -> str:
    return render_haproxy(pools(wanted, plan(members, wanted).backends), wanted, SOURCES, interval=interval)


def taken(config: str, folder: Path) -> str:
    """What HAProxy says against a configuration, "" when it takes it without a warning."""
    (folder / "haproxy.cfg").write_text(config)
    command = ["/usr/sbin/haproxy", "-c", "-q", "-f", "haproxy.cfg"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stderr


def section(config: str, head: str) -> list[str]:
    """The lines of a section of haproxy.cfg."""
    lines = iter(config.splitlines())
    assert any(line == head for line in lines), f"no {head!r} in:\n{config}"
    found = []
    for line in lines:
        if not line.startswith(" "):
            break
        found.append(line.strip())
    return found


SIX = Member("6" * 32, "m6", "fd00::6", router=member().router)
MANY = [
    ([], ALL, "nobody"),
    ([member(1), member(2), member(3)], ALL, "three machines with everything"),
    ([member(1), SIX], Wanted(("[::]:80",), ("[::]:443",), (("[::]:5432", 5432),)), "IPv6"),
    ([member(1)], Wanted(), "HTTP only"),
    ([member(1)], Wanted((), ("0.0.0.0:443",)), "TLS only"),
    ([member(1)], Wanted((), (), (("0.0.0.0:5432", 5432), ("*:6432", 5432))), "TCP only, on two addresses"),
    ([member(1, cordoned=True)], ALL, "a cordoned one"),
    ([member(1)], Wanted(trusted=("10.0.0.0/8", "fd00::/8")), "proxies in front"),
    ([Member("1" * 32, "m\n1; }", "10.0.0.1", router=member().router)], ALL, "a name that wants more"),
]


@needs_nginx
@needs_stream
@pytest.mark.parametrize(("members", "wanted", "why"), MANY, ids=[row[2] for row in MANY])
def test_nginx_takes_it(tmp_path: Path, members: list[Member], wanted: Wanted, why: str) -> None:
    high = re.sub(r"(listen [^;]*?):(80|443|5432|6432)\b", r"\1:2\g<2>", nginx_of(members, wanted, MODULE))
    assert accepted(high, tmp_path) == ""


@needs_haproxy
@pytest.mark.parametrize(("members", "wanted", "why"), MANY, ids=[row[2] for row in MANY])
def test_haproxy_takes_it_without_a_warning(tmp_path: Path, members: list[Member], wanted: Wanted, why: str) -> None:
    assert taken(haproxy_of(members, wanted), tmp_path) == ""


@needs_nginx
@needs_stream
@needs_haproxy
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(machines)
def test_whatever_machines_report_neither_can_be_broken(tmp_path: Path, members: list[Member]) -> None:
    assert accepted(nginx_of(members, HIGH, MODULE), tmp_path) == ""
    assert taken(haproxy_of(members, HIGH), tmp_path) == ""


def test_the_order_in_which_machines_are_told_changes_nothing() -> None:
    there, back = [member(1), member(2), member(3)], [member(3), member(2), member(1)]
    assert nginx_of(there, ALL) == nginx_of(back, ALL)
    assert haproxy_of(there, ALL) == haproxy_of(back, ALL)


def test_nginx_loads_what_it_needs_and_no_more() -> None:
    assert "load_module" not in nginx_of([member()], Wanted())
    assert "stream {" not in nginx_of([member()], Wanted())
    assert 'load_module "/m.so";' in nginx_of([member()], ALL)
    assert "load_module" not in nginx_of([member()], ALL, "")
    assert "http {" not in nginx_of([member()], Wanted((), ("0.0.0.0:443",)))


def test_the_client_s_address_goes_before_tls_only_where_asked() -> None:
    router = member().router
    assert router is not None
    takes = [
        Member("1" * 32, "m1", "10.0.0.1", router=type(router)("", listen=router.listen, tls_listen=router.tls_listen, proxy_protocol=True))
    ]
    wanted = Wanted((), ("0.0.0.0:443",), (("0.0.0.0:5432", 5432),), proxy_protocol=True)
    assert nginx_of(takes, wanted).count("proxy_protocol on;") == 1
    assert section(haproxy_of(takes, wanted), "backend argosy_tls")[-1] == "server m1 10.0.0.1:443 check port 80 send-proxy"
    assert section(haproxy_of(takes, wanted), "backend argosy_tcp_5432")[-1] == "server m1 10.0.0.1:5432 check"


def test_haproxy_asks_routers_for_their_health_and_everything_else_for_a_connection() -> None:
    config = haproxy_of([member(1), member(2)], ALL, interval=0.5)
    web = section(config, "backend argosy_routers")
    assert "option httpchk GET /_argosy/health HTTP/1.1" in web
    assert web[-2:] == ["server m1 10.0.0.1:80 check", "server m2 10.0.0.2:80 check"]
    tls = section(config, "backend argosy_tls")
    assert "option httpchk GET /_argosy/health HTTP/1.1" in tls
    assert tls[-1] == "server m2 10.0.0.2:443 check port 80"
    assert not any("httpchk" in line for line in section(config, "backend argosy_tcp_5432"))
    assert "inter 500ms" in config


def test_a_tls_pool_in_which_some_cannot_be_asked_is_checked_by_connections() -> None:
    server = Backend("tls", "m1", "10.0.0.1:443")
    other = Backend("tls", "m2", "10.0.0.2:443", "10.0.0.2:80")
    wanted = Wanted((), ("0.0.0.0:443",))
    config = render_haproxy((Pool("tls", ("0.0.0.0:443",), (server, other)),), wanted, SOURCES, interval=1)
    assert not any("httpchk" in line for line in section(config, "backend argosy_tls"))


@pytest.mark.parametrize("address", ["10.0.0.1:80; }", "name:80", "10.0.0.1", ""])
def test_what_is_no_address_never_reaches_a_configuration(address: str) -> None:
    made = (Pool("http", ("0.0.0.0:80",), (Backend("http", "m1", address),)),)
    with pytest.raises(InvalidInput, match="no address of a machine"):
        render_nginx(made, Wanted(), SOURCES, nofile=64)
    with pytest.raises(InvalidInput, match="no address of a machine"):
        render_haproxy(made, Wanted(), SOURCES, interval=1)


def test_a_module_s_path_that_wants_more_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no nginx module"):
        nginx_of([], ALL, "/x\n;")


def test_which_module_nginx_needs_for_tcp(tmp_path: Path) -> None:
    assert module_of("configure arguments: --with-stream --with-http_v2_module") == ""
    (tmp_path / "ngx_stream_module.so").touch()
    assert module_of(f"configure arguments: --modules-path={tmp_path} --with-stream=dynamic") == f"{tmp_path}/ngx_stream_module.so"
    missing: list[str] = [f"--modules-path={tmp_path}/none --with-stream=dynamic", f"--modules-path={tmp_path} --with-stream_ssl_module"]
    for said in missing:
        with pytest.raises(ArgosyError, match=r"cannot carry TCP or TLS.*libnginx-mod-stream"):
            module_of(said)
    with pytest.raises(Unsuitable, match="does not say what it can"):
        stream_module("/no/such/nginx")
