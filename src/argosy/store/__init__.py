"""Bytes with watch, lease and compare-and-swap: the only place where the stages of Argosy meet."""
