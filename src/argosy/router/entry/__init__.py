"""The entry: one address in front of all machines' routers. See docs/entry.md.

agents' API ─► door ─► plan: who belongs, who is used ─► render ─► nginx, or a file for HAProxy
                         ▲
routers ─► probe ────────┘
"""
