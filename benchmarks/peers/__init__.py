"""The same service, made of FastAPI and another job queue: what ours is measured against."""

from benchmarks.peers.sides import SIDES, Side

__all__ = ["SIDES", "Side"]
