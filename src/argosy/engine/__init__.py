"""Placement for the whole cluster: the elected leader plans and commits where every unit runs."""
