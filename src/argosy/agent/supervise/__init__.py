"""The supervisor: a small process of its own that runs units where there is no systemd, and outlives the agent."""
