"""The public names of the package."""

import subprocess
import sys

import pytest

import app


def test_every_public_name_is_there():
    assert {name for name in app.__all__ if getattr(app, name) is not None} == set(app.__all__)
    assert set(app.__all__) <= set(dir(app))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tsak'"):
        app.tsak  # noqa: B018


def test_importing_the_package_loads_nothing_but_the_standard_library():
    heavy = {"pydantic", "fastapi", "asyncio", "app.jobs"}
    script = f"import app, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 0


def test_the_decorator_returns_the_function_itself():
    def add(a: int, b: int) -> int:
        return a + b

    assert app.task(add) is add
    assert app.task(name="sum", queue="slow", priority=-1)(add) is add
    assert add(1, 2) == 3
