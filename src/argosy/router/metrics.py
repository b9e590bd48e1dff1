"""What Prometheus may ask of a router."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ROUTES = Gauge("argosy_router_routes", "Instances that this router serves")
REFUSED = Gauge("argosy_router_refused_routes", "Keys under /services/web/ that this router refuses to serve")
CHANGES = Counter("argosy_router_changes", "Configurations handed to the proxy", ["result"])
APPLY = Histogram(
    "argosy_router_apply_seconds",
    "From handing a configuration to the proxy until it is served or refused",
    buckets=(0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 15),
)
LOST = Counter("argosy_router_proxy_lost", "Times that the proxy ended without being told to")
