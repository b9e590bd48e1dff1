"""Benchmarks: one file per question, each against a peer or a limit in the same run.

Each module has `run()` (plain or async) returning {"<name>": {"value": ..., "unit": ..., "reach": ...}}.
"""
