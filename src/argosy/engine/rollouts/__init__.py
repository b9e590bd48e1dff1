"""Rollouts: units changed a few at a time, the next when the last is healthy again; carried out by the engine leader."""
