"""Task modules, written by the tests that need them."""

import importlib
import itertools
import sys

import pytest

from app.jobs import hooks, registry

_serial = itertools.count()


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules under names of their own; afterwards they, and their tasks and hooks, are forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_DECLARED", {})
    monkeypatch.setattr(hooks, "_DECLARED", {})
    monkeypatch.setattr(hooks, "_RUN_HERE", set())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    prefix = f"made_{next(_serial)}"

    def write(text, name="tasks"):
        path = tmp_path.joinpath(*f"{prefix}_{name}".split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("PREFIX", prefix))
        importlib.invalidate_caches()
        return f"{prefix}_{name}".removesuffix(".__init__")

    yield write
    for name in set(sys.modules) - before:
        if name.startswith(prefix):
            del sys.modules[name]
