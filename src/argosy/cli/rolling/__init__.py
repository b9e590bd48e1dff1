"""Changing many units a few at a time: the next only when the last is healthy again."""
