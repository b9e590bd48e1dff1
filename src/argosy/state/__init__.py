"""Meaning over bytes: which key holds what, and how to read and write it."""
