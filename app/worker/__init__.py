"""The worker: claims jobs, executes them, settles them."""

from app.worker.worker import Worker

__all__ = ["Worker"]
