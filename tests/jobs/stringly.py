"""A module whose annotations are strings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Place:
    x: int


def shift(place: Place, by: int = 1) -> Place:
    return Place(place.x + by)
