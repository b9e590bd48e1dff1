"""What is changed together, and what is looked at beside it."""

from __future__ import annotations

import msgspec

from argosy.engine.rollouts.groups import Group, grouped, numbered, read
from argosy.model import Target, Workload

APP = "[Service]\nExecStart=/bin/app\n"
SIDEKICK = """[Unit]
BindsTo=web@%i.service
[Service]
ExecStart=/bin/argosy announce /services/web/web/%i ${COREOS_PRIVATE_IPV4}:3000
[X-Fleet]
MachineOf=web@%i.service
"""
BESIDE = "[Service]\nExecStart=/bin/log\n[X-Fleet]\nMachineOf=web-announce@1.service\n"
JOB = "[Unit]\nBindsTo=web@1.service\n[Service]\nType=oneshot\nExecStart=/bin/job\n"


def known(**texts: str) -> dict[str, Workload]:
    """Units that are launched, by their names without .service; `@` is written `__`."""
    names = {key.replace("__", "@").replace("_", "-") + ".service": text for key, text in texts.items()}
    return {name: Workload(name, text, Target.LAUNCHED, 1) for name, text in names.items()}


def test_followers_of_followers_and_the_routes_in_their_texts_belong_to_a_unit() -> None:
    everything = known(web__1=APP, web_announce__1=SIDEKICK, log=BESIDE, job=JOB, other=APP)
    assert grouped(["web@1.service"], everything, {}) == [
        Group(
            "web@1.service",
            ("web@1.service",),
            ("job.service", "log.service", "web-announce@1.service"),
            {
                "job.service": frozenset({"web@1.service"}),
                "log.service": frozenset(),
                "web-announce@1.service": frozenset({"web@1.service"}),
            },
            frozenset({"job.service"}),
            (("web", "1"),),
        )
    ]


def test_units_that_follow_each_other_are_changed_together_the_leader_first() -> None:
    everything = known(web__1=APP, web_announce__1=SIDEKICK, web__2=APP, web_announce__2=SIDEKICK)
    groups = grouped([*sorted(everything)], everything, {})
    assert [(group.name, group.units, group.followers) for group in groups] == [
        ("web@1.service", ("web@1.service", "web-announce@1.service"), ()),
        ("web@2.service", ("web@2.service", "web-announce@2.service"), ()),
    ]


def test_groups_come_in_the_order_of_their_numbers() -> None:
    everything = known(web__10=APP, web__9=APP, web__1=APP)
    assert [group.name for group in grouped(list(everything), everything, {})] == ["web@1.service", "web@9.service", "web@10.service"]
    assert sorted(["b2", "a10", "a9", "b"], key=numbered) == ["a9", "a10", "b", "b2"]


def test_units_that_are_not_to_run_are_nobodys_followers() -> None:
    everything = known(web__1=APP, web_announce__1=SIDEKICK)
    everything["web-announce@1.service"] = msgspec.structs.replace(everything["web-announce@1.service"], target=Target.LOADED)
    assert grouped(["web@1.service"], everything, {})[0].followers == ()


def test_a_new_text_counts_before_the_old_one() -> None:
    everything = known(web__1=APP, web_announce__1=APP)
    group = grouped(["web@1.service", "web-announce@1.service"], everything, {"web-announce@1.service": SIDEKICK})[0]
    assert group.units == ("web@1.service", "web-announce@1.service")


def test_units_that_follow_each_other_in_a_circle_come_to_an_end() -> None:
    one, other = (f"[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineOf={name}.service\n" for name in "ba")
    groups = grouped(["a.service", "b.service"], known(a=one, b=other), {})
    assert sorted(name for group in groups for name in group.units) == ["a.service", "b.service"]


def test_keys_of_etcdctl_and_of_curl_are_found_and_a_text_that_breaks_rules_says_nothing() -> None:
    loop = "[Service]\nExecStart=/bin/sh -c \"while etcdctl set /services/web/%p/%i '1.2.3.4:80' --ttl 60; do sleep 45; done\"\n"
    assert read("web@a.service", loop).routes == (("web", "a"),)
    curl = "[Service]\nExecStart=/usr/bin/curl -XPUT http://127.0.0.1:4001/v2/keys/services/web/shop/%n -d value=x\n"
    assert read("shop.service", curl).routes == (("shop", "shop.service"),)
    setting = "[Service]\nExecStartPre=/usr/bin/etcdctl set /services/web/_settings/shop max_body=1g\n"
    assert read("shop.service", setting).routes == (), "an app's settings are no route"
    assert read("x.service", "[X-Fleet]\nNonsense=1\n[Service]\nExecStart=/services/web/a/b\n").routes == ()
