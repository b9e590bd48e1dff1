"""Where a unit goes: filters, a strategy, and an answer that says why. Pure functions over an indexed snapshot."""

from argosy.placement.explain import Explanation as Explanation
from argosy.placement.explain import Row as Row
from argosy.placement.explain import why as why
