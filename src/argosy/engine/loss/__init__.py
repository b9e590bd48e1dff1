"""Machines that nobody reaches: who probes whom, and when the observers' reports make a machine lost before its lease ends."""
