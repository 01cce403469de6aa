"""The worker: claims jobs, executes them, settles them."""

from app.worker.runs import Terms
from app.worker.worker import Worker

__all__ = ["Terms", "Worker"]
