import pytest

from tests.worker.house import House


@pytest.fixture
def build(tmp_path):
    """Builds houses, of which none is started. At the end their threads must be gone."""
    houses = []

    def build(*functions, **options):
        houses.append(House(tmp_path, *functions, **options))
        return houses[-1]

    yield build
    ended = [house.close() for house in houses]
    assert all(ended)


@pytest.fixture
def run(build):
    """Starts a house with these functions."""

    def run(*functions, **options):
        return build(*functions, **options).start()

    return run
