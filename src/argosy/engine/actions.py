"""What a plan consists of: frozen values, each with its reason."""

from __future__ import annotations

import msgspec

from argosy.model import Placement


class Place(msgspec.Struct, frozen=True, gc=False):
    """A unit gets a place that it did not have. `ordered`: whether this is right depends on actions before it in the plan."""

    placement: Placement
    reason: str
    ordered: bool = False

    @property
    def unit(self) -> str:
        return self.placement.unit

    @property
    def machine(self) -> str:
        return self.placement.machine


class Update(Place, frozen=True, gc=False):
    """A unit stays where it is, with a new text, target or launch."""


class MarkFinished(Place, frozen=True, gc=False):
    """A oneshot has ended well: it is neither started again nor moved in this launch."""


class Remove(msgspec.Struct, frozen=True, gc=False):
    """A unit leaves a machine."""

    unit: str
    machine: str
    reason: str
    ordered: bool = False


Action = Place | Update | MarkFinished | Remove
