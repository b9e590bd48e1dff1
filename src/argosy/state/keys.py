"""Every key of the store, named in one place. Each prefix has exactly one writer.

prefix                              sole writer                                 life
/argosy/units/<name>                api (the engine leader for a rollout)       kept
/argosy/machines/<id>               that machine's agent                        lease
/argosy/orders/<id>                 api                                         kept
/argosy/placements/<machine>/<unit> the engine leader                           kept
/argosy/states/<machine>/<unit>     that machine's agent                        lease
/argosy/routers/<machine>           that machine's router                       lease
/argosy/kv/<path>                   api (users' keys)                           kept or lease
/argosy/kv-mark, /argosy/kv-number  api (what happened to keys, in-order names) kept
/argosy/kv-timed/<path>             api (directories that end by themselves)    kept
/argosy/leaders/engine              its holder                                  lease
/argosy/probes/<machine>            the engine leader                           kept
/argosy/silences/<machine>/<observer> that observer's agent                     lease
/argosy/rollouts/<name>             api (the engine leader removes ended ones)  kept
/argosy/rollout-progress/<name>     the engine leader                           kept
/argosy/rollout-mark                api (written with each new rollout)         kept
"""

from __future__ import annotations

ROOT = "/argosy/"
UNITS = "/argosy/units/"
MACHINES = "/argosy/machines/"
ORDERS = "/argosy/orders/"
PLACEMENTS = "/argosy/placements/"
STATES = "/argosy/states/"
ROUTERS = "/argosy/routers/"
KV = "/argosy/kv/"
KV_ALL = "/argosy/kv"
"""Prefix of users' keys and of the records that accompany them."""
KV_MARK = "/argosy/kv-mark"
"""Written together with deletions that a user asked for: says what they were."""
KV_NUMBER = "/argosy/kv-number"
"""The last number that an in-order key was named after."""
KV_TIMED = "/argosy/kv-timed"
"""Prefix, with a key's path after it: that path is a directory with a time to live. Where it stands without its directory, what is below
the directory has ended too and is to be deleted, by whoever sees it."""
ENGINE_LEADER = "/argosy/leaders/engine"
PROBES = "/argosy/probes/"
SILENCES = "/argosy/silences/"
ROLLOUTS = "/argosy/rollouts/"
ROLLOUT_PROGRESS = "/argosy/rollout-progress/"
ROLLOUT_MARK = "/argosy/rollout-mark"
"""Written with each new rollout, so that of two that are asked for at once the second sees the first."""
WEB = KV + "services/web/"
"""Users' keys that the router serves: <app>/<instance> = host:port."""
STANDALONE_ROUTERS = KV + "_argosy/routers/"
"""Users' keys in which routers without an agent report themselves, by their host's name."""


def unit(name: str) -> str:
    return UNITS + name


def machine(machine_id: str) -> str:
    return MACHINES + machine_id


def order(machine_id: str) -> str:
    return ORDERS + machine_id


def placement(machine_id: str, unit_name: str) -> str:
    return f"{PLACEMENTS}{machine_id}/{unit_name}"


def placements_on(machine_id: str) -> str:
    return f"{PLACEMENTS}{machine_id}/"


def state(machine_id: str, unit_name: str) -> str:
    return f"{STATES}{machine_id}/{unit_name}"


def states_on(machine_id: str) -> str:
    return f"{STATES}{machine_id}/"


def router(machine_id: str) -> str:
    return ROUTERS + machine_id


def probes(machine_id: str) -> str:
    return PROBES + machine_id


def silence(machine_id: str, observer: str) -> str:
    return f"{SILENCES}{machine_id}/{observer}"


def rollout(name: str) -> str:
    return ROLLOUTS + name


def rollout_progress(name: str) -> str:
    return ROLLOUT_PROGRESS + name
