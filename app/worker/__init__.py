"""The worker: claims jobs, executes them, settles them."""

from app.worker.execution import Terms
from app.worker.worker import Worker

__all__ = ["Terms", "Worker"]
