"""The unit files that started the project, byte for byte as their README has them; our own where that text is not at hand.

The README lies in ../shared/seeds beside the checkout. It writes each unit file as a fenced block that begins with ```fleet.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SEEDS = ROOT.parent / "shared" / "seeds"
STARTER = ROOT / "examples" / "fleet-starter"

REGISTRY, ROUTER, APP, DISCOVERY = "registry.service", "nginx_lb_router.service", "example-app@.service", "example-app-discovery@.service"
OURS = {
    REGISTRY: STARTER / "registry" / "registry.service",
    ROUTER: STARTER / "router" / "router.service",
    APP: STARTER / "example-app" / APP,
    DISCOVERY: STARTER / "example-app" / DISCOVERY,
}
KNOWN_BY = {
    REGISTRY: "Description=Private Azure-backed Docker Registry",
    ROUTER: "Description=Nginx Load Balancer and Router",
    APP: "TimeoutStartSec=30m",
    DISCOVERY: "Description=Announce Example App",
}
"""A line that only this unit of the README has."""

PLACEHOLDERS = {"<<DOCKER_HUB_USER>>": "user", "<<DOCKER_HUB_PASSWORD>>": "password", "<<DOCKER_HUB_EMAIL_ADDRESS>>": "user@example.com"}
"""What the README tells its reader to replace in registry.service, and nothing else."""

LOGIN = re.compile(r"^ExecStartPre=/usr/bin/docker login .*\n", re.MULTILINE)


def there() -> bool:
    return any(SEEDS.glob("001_*.txt"))


def unit_texts() -> dict[str, str]:
    """Text by unit name."""
    if not there():
        return {name: path.read_text() for name, path in OURS.items()}
    (page,) = SEEDS.glob("001_*.txt")
    blocks = re.findall(r"^```fleet\n(.*?)^```", page.read_bytes().decode(), re.MULTILINE | re.DOTALL)
    texts = {}
    for name, line in KNOWN_BY.items():
        (texts[name],) = [block for block in blocks if line in block]
    return texts


def with_credentials(text: str) -> str:
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def without_login(text: str) -> str:
    """registry.service as it can start today. Its `docker login … -e ADDRESS` cannot: Docker took that option away in 17.06, and it would
    ask the Docker Hub, which a lab does not reach."""
    return LOGIN.sub("", text)
