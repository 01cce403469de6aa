import asyncio

import pytest

from app.service import Service
from tests.worker.house import House


class Services:
    """Runs a test's coroutine function with a service around it, on an event loop of its own."""

    def __init__(self, folder):
        self._folder = folder
        self._houses = []

    def __call__(self, test, *functions, start=True, **options):
        limits = {"limits": options.pop("limits")} if "limits" in options else {}
        house = House(self._folder, *functions, **options)
        self._houses.append(house)
        if start:
            house.start()
        service = Service(
            house.store,
            house.writer,
            house.registry,
            house.clock,
            claiming=lambda: house.worker.claiming,
            **limits,
        )
        service.house = house
        try:
            return asyncio.run(test(service))
        finally:
            self._closed = service.close()

    def close(self):
        ended = [house.close() for house in self._houses]
        assert all(ended)
        assert self._closed


@pytest.fixture
def serve(tmp_path):
    """Calls `test(service)`; the house behind it is `service.house`."""
    services = Services(tmp_path)
    yield services
    services.close()
