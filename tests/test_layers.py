"""Who may import whom, held by reading every import statement under app/.

Read from the syntax tree and not from a running program, because a ring of modules is easily
hidden in a function's body or behind TYPE_CHECKING: such imports count like any other here.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The layer `app` stands for the package's public names: app/__init__.py.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "config": set(),
    "jobs": {"core"},
    "stores": {"jobs", "core"},
    "engine": {"core", "jobs"},
    "service": {"jobs", "stores", "core"},
    "worker": {"jobs", "stores", "core", "engine"},
    "api": {"service", "jobs", "config"},
    "web": set(),
    "client": {"jobs", "core"},
    "server": {"core", "config", "jobs", "stores", "engine", "service", "worker", "api", "web"},
    "testing": {"client", "server", "cli"},
    "tasks": {"app"},
    "app": {"core", "jobs"},
    "__main__": {"cli"},
}
MAY_IMPORT["cli"] = {*MAY_IMPORT, "cli"}  # the composition root


def module_name(path: Path, package: Path) -> list[str]:
    """Return the dotted name of a file as a list, a package's own __init__ under the package's name."""
    parts = list(path.relative_to(package.parent).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def exists(parts: list[str], package: Path) -> bool:
    """Tell a module from a mere name: `from app import core` imports one, `from app import task` does not."""
    path = package.parent.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported_from(node: ast.ImportFrom, path: Path, package: Path) -> Iterator[list[str]]:
    """Yield what `from … import …` names, a relative one counted from the folder of the file."""
    source = node.module.split(".") if node.module else []
    if node.level:
        here = list(path.parent.relative_to(package.parent).parts)
        source = here[: len(here) - node.level + 1] + source
    for alias in node.names:
        yield [*source, alias.name] if exists([*source, alias.name], package) else source


def imported_at(node: ast.AST, path: Path, package: Path) -> Iterator[list[str]]:
    """Yield the modules that one node of the tree imports."""
    match node:
        case ast.Import():
            yield from (alias.name.split(".") for alias in node.names)
        case ast.ImportFrom():
            yield from imported_from(node, path, package)
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            # A name computed at run time cannot be read here; a written one can.
            prefix = list(path.parent.relative_to(package.parent).parts) if name.startswith(".") else []
            yield [*prefix, *filter(None, name.split("."))]


def layer_of(parts: list[str]) -> str:
    """Return the first component under app."""
    return parts[1] if len(parts) > 1 else "app"


def violations(package: Path) -> list[str]:
    """Name every import that the table does not allow, and every module that it does not know."""
    found = []
    for path in sorted(package.rglob("*.py")):
        shown = path.relative_to(package.parent).as_posix()
        layer = layer_of(module_name(path, package))
        if layer not in MAY_IMPORT:
            found.append(f"{shown} belongs to no layer: add {layer} to the table")
            continue
        for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
            found += [
                f"{shown}:{node.lineno} imports {'.'.join(parts)}"
                for parts in imported_at(node, path, package)
                if parts[:1] == ["app"] and layer_of(parts) not in MAY_IMPORT[layer] | {layer}
            ]
    return found


@pytest.fixture
def house(tmp_path):
    """Build an empty app/ with a core and a jobs package; returns a function that adds one file."""

    def add(name: str, source: str) -> list[str]:
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return violations(tmp_path / "app")

    add("__init__.py", "")
    add("core/future.py", "")
    add("jobs/model.py", "")
    return add


def test_every_module_imports_only_what_its_layer_may():
    assert (ROOT / "app" / "__init__.py").is_file()
    assert violations(ROOT / "app") == []


@pytest.mark.parametrize(
    ("name", "source", "violation"),
    [
        ("core/bad.py", "import os\nimport app.jobs.model", "app/core/bad.py:2 imports app.jobs.model"),
        ("core/bad.py", "import app", "app/core/bad.py:1 imports app"),
        ("core/bad.py", "from app.jobs.model import Job", "app/core/bad.py:1 imports app.jobs.model"),
        ("core/bad.py", "from app import jobs", "app/core/bad.py:1 imports app.jobs"),
        ("core/bad.py", "from .. import jobs", "app/core/bad.py:1 imports app.jobs"),
        ("core/bad.py", "from ..jobs import model", "app/core/bad.py:1 imports app.jobs.model"),
        ("core/__init__.py", "from ..jobs import model", "app/core/__init__.py:1 imports app.jobs.model"),
        ("service.py", "from . import api", "app/service.py:1 imports app"),
        ("service.py", "from .api import routes", "app/service.py:1 imports app.api"),
        ("jobs/bad.py", "def f():\n    import app.stores", "app/jobs/bad.py:2 imports app.stores"),
        (
            "jobs/bad.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from app import worker",
            "app/jobs/bad.py:3 imports app",
        ),
        (
            "__init__.py",
            "from importlib import import_module\nimport_module('app.cli')",
            "app/__init__.py:2 imports app.cli",
        ),
        (
            "__init__.py",
            "import importlib\nimportlib.import_module('.cli', 'app')",
            "app/__init__.py:2 imports app.cli",
        ),
        ("tasks.py", "from app.jobs.model import Job", "app/tasks.py:1 imports app.jobs.model"),
        ("tasks.py", "from app import jobs", "app/tasks.py:1 imports app.jobs"),
        ("utils.py", "", "app/utils.py belongs to no layer: add utils to the table"),
    ],
)
def test_a_forbidden_import_is_named_with_its_line(house, name, source, violation):
    assert house(name, source) == [violation]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "core/good.py",
            "import json\nfrom app.core import future\nfrom .future import Future\nfrom . import future",
        ),
        ("jobs/good.py", "from app import core\nfrom ..core import future\nimport application"),
        ("__init__.py", "from importlib import import_module\nimport_module('app.core')\nfrom . import jobs"),
        ("tasks.py", "from app import submit, task"),
        ("cli.py", "import app\nfrom app import core, jobs"),
        ("__main__.py", "from app.cli import main"),
    ],
)
def test_an_allowed_import_is_not_named(house, name, source):
    assert house(name, source) == []


def test_app_and_core_need_the_standard_library_only():
    # -S leaves out site-packages and -E the caller's PYTHONPATH, so that nothing installed can help.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-W", "error", "-c", "import app, app.core"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
