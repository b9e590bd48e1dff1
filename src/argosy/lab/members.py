"""etcd on the lab's first machines: which machines are members, and their service. Mutual TLS between members and for clients."""

from __future__ import annotations

from argosy.lab.state import LabRecord, MachineRecord

CLIENT_PORT = 2379
PEER_PORT = 2380
DATA = "/var/lib/etcd/argosy"
TLS = "/etc/argosy/tls"


def choose(names: tuple[str, ...]) -> tuple[str, ...]:
    """The members among a new lab's machines: three, or one where three are not there (two are worse than one: either's end is the end)."""
    return names[:3] if len(names) >= 3 else names[:1]


def store_url(lab: LabRecord) -> str:
    return "etcd:" + ",".join(f"{machine.address}:{CLIENT_PORT}" for machine in lab.machines if machine.name in lab.members)


def service_file(lab: LabRecord, machine: MachineRecord) -> str:
    """The member's etcd.service. Its clock is quick enough for a lab (a lost leader is replaced in two seconds) and calm enough for a host
    whose processors are all busy. Pre-vote: a member that was cut off and comes back does not depose the leader."""
    peers = ",".join(f"{other.name}=https://{other.address}:{PEER_PORT}" for other in lab.machines if other.name in lab.members)
    tls = " ".join(
        f"--{side}cert-file={TLS}/machine.pem --{side}key-file={TLS}/machine.key "
        f"--{side}trusted-ca-file={TLS}/ca.pem --{side}client-cert-auth"
        for side in ("", "peer-")
    )
    client = f"https://{machine.address}:{CLIENT_PORT}"
    peer = f"https://{machine.address}:{PEER_PORT}"
    return f"""\
[Unit]
Description=etcd member {machine.name}

[Service]
Type=notify
ExecStart=/usr/bin/etcd --name={machine.name} --data-dir={DATA} --listen-client-urls={client} --advertise-client-urls={client} \\
  --listen-peer-urls={peer} --initial-advertise-peer-urls={peer} --initial-cluster={peers} --initial-cluster-state=new \\
  --initial-cluster-token={lab.name}-{lab.number} --heartbeat-interval=100 --election-timeout=1000 --pre-vote \\
  --auto-compaction-mode=periodic --auto-compaction-retention=1h --quota-backend-bytes=2147483648 --logger=zap --log-level=warn \\
  {tls}
Environment=GOMAXPROCS=2
Restart=always
RestartSec=1
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""
