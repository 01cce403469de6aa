"""What is promised outside the code: the container, the pins, and that no file tells where it was written."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_wheel_takes_all_of_the_package_along_its_sql_and_its_pages_too():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"] == {"packages": ["app"]}
    assert "/app" in build["targets"]["sdist"]["include"]
    assert (ROOT / "app" / "web" / "index.html").is_file()


# The compose file


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def service(compose):
    assert list(compose["services"]) == ["errand"]
    return compose["services"]["errand"]


def test_compose_publishes_on_this_machine_only(service):
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service.get("network_mode") is None


def test_compose_does_not_start_without_api_keys_and_says_so(service):
    required = re.fullmatch(r"\$\{ERRAND_API_KEYS:\?([^{}]+)\}", service["environment"]["ERRAND_API_KEYS"])
    assert required
    assert "name:secret" in required[1]


def test_compose_lets_a_drain_end_before_it_kills(service):
    assert service["stop_grace_period"] == "45s"


def test_compose_keeps_the_database_on_a_named_volume(compose, service):
    name, target = service["volumes"][0].split(":")
    assert target == "/data"
    assert name in compose["volumes"]


def test_compose_builds_this_folder_and_starts_again_after_a_crash(service):
    assert service["build"] == "."
    assert service["restart"] == "unless-stopped"


# The image


@pytest.fixture(scope="module")
def stages():
    """Read the Dockerfile into one list of (instruction, arguments) per stage."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)  # as Docker does, before it joins lines
    text = re.sub(r"\\\n", " ", text)
    lines = [line.strip().partition(" ") for line in text.splitlines() if line.strip()]
    found: list[list[tuple[str, str]]] = []
    for instruction, _, arguments in lines:
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, arguments.strip()))
    return found


def argument(stage: list[tuple[str, str]], instruction: str) -> str:
    """Return what the last such instruction says: it is the one that counts."""
    return [arguments for name, arguments in stage if name == instruction][-1]


def test_the_image_is_built_in_stages_and_takes_only_the_environment_along(stages):
    builder, image = stages
    assert argument(builder, "FROM") == "python:3.13-slim AS builder"
    assert argument(image, "FROM") == "python:3.13-slim"
    copies = [arguments for name, arguments in image if name in {"COPY", "ADD"}]
    assert copies == ["--from=builder /opt/errand /opt/errand"]
    assert not re.search(r"\b(pip|apt-get|gcc)\b", " ".join(a for name, a in image if name == "RUN"))


def test_the_image_installs_the_pinned_versions(stages):
    assert "--constraint constraints.txt" in " ".join(a for name, a in stages[0] if name == "RUN")


def test_the_image_runs_as_a_user_with_a_fixed_number_that_is_not_root(stages):
    user = argument(stages[-1], "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    after = [name for name, _ in stages[-1]][[name for name, _ in stages[-1]].index("USER") :]
    assert "RUN" not in after


def test_the_image_starts_the_service_without_a_shell_in_between(stages):
    assert json.loads(argument(stages[-1], "CMD")) == ["errand", "serve"]
    assert "ENTRYPOINT" not in dict(stages[-1])


def test_the_image_checks_its_health_by_a_program_that_compiles(stages):
    command = argument(stages[-1], "HEALTHCHECK").partition("CMD ")[2]
    python, flag, program = json.loads(command)
    assert (python, flag) == ("python", "-c")
    compile(program, "HEALTHCHECK", "exec")
    assert "http://127.0.0.1:8000/health/live" in program


def test_the_image_keeps_its_database_on_the_volume(stages):
    image = stages[-1]
    assert argument(image, "VOLUME") == "/data"
    assert "ERRAND_DATABASE=sqlite:////data/errand.db" in argument(image, "ENV")
    assert argument(image, "WORKDIR") == "/srv"
    # A folder that root owned when VOLUME declared it could not be written by the service.
    order = [name for name, _ in image]
    assert order.index("RUN") < order.index("VOLUME")


def test_the_image_is_built_from_named_files_only():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {"!app", "!constraints.txt", "!pyproject.toml", "!README.md", "!LICENSE"} <= set(rules)


# The pins


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def test_constraints_name_versions_and_no_place_to_get_them_from(pins):
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"^\s*-|://|\s@\s|file:", text, flags=re.MULTILINE)
    for pin in pins.values():
        assert re.fullmatch(r"==[^=*,]+", str(pin.specifier)), pin


def test_constraints_pin_everything_that_the_project_asks_for(project, pins):
    asked = [*project["dependencies"]]
    for requirements in project["optional-dependencies"].values():
        asked += requirements
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        if name == project["name"]:  # `dev` includes `test` by the project's own name
            assert requirement.extras <= project["optional-dependencies"].keys()
            continue
        assert name in pins, requirement
        [pin] = pins[name].specifier
        assert requirement.specifier.contains(pin.version), requirement


def test_requirements_bear_lower_bounds_only(project):
    asked = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    for requirement in map(Requirement, asked):
        assert [one.operator for one in requirement.specifier] == [">="], requirement


# What no file may tell

# In pieces, so that this file does not hold what it looks for.
REGISTRIES = [
    "py" + "pi.org",
    "py" + "pi.python.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "ana" + "conda.org",
    "crates" + ".io",
]

# Too common to tell one machine from another: these stand in a Dockerfile for good reasons.
COMMON = {"/", "/app", "/data", "/home", "/mnt", "/opt", "/root", "/src", "/srv", "/tmp", "/usr", "/var"}

MADE_BY_TOOLS = re.compile(r"\.coverage(\..*)?|.*\.(pyc|db|db-\w+|db\.lock)")


def files(folder: Path) -> Iterator[Path]:
    """Yield what belongs to the project: all but the history, environments, caches and builds."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            hidden = path.name.startswith(".") and path.name not in {".ci", ".github"}
            built = path.name in {"__pycache__", "build", "dist", "htmlcov"} or (path / "pyvenv.cfg").exists()
            if not hidden and not built:
                yield from files(path)
        elif path.name != ".git" and not MADE_BY_TOOLS.fullmatch(path.name):  # a linked checkout's is a file
            yield path


def lines_with(pattern: str, folder: Path = ROOT) -> list[str]:
    """Name each line that matches, of text and other files alike."""
    wanted = re.compile(pattern.encode(), re.IGNORECASE)
    return [
        f"{path.relative_to(folder).as_posix()}:{number} {line.decode(errors='replace').strip()}"
        for path in files(folder)
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if wanted.search(line)
    ]


def whole_path(path: Path) -> str:
    """Match a path and what lies in it, but not a longer name that merely begins or ends like it."""
    return rf"(?<![\w.-]){re.escape(str(path))}(?![\w.-])"


def test_no_file_names_the_host_of_a_package_registry():
    assert lines_with("|".join(rf"\b{re.escape(host)}" for host in REGISTRIES)) == []


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    telling = [path for path in (ROOT, ROOT.parent) if str(path) not in COMMON]
    assert [line for path in telling for line in lines_with(whole_path(path))] == []


def test_a_file_that_tells_is_found(tmp_path):
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".ci" / "run").write_text("ok\npip --index-url https://" + REGISTRIES[0] + "\n")
    (tmp_path / ".venv" / "log").write_text(REGISTRIES[0])
    (tmp_path / "image.bin").write_bytes(b"\0\xff /some/where/else\n/some/wherever\nx/some/where\n")
    assert [line.partition(" ")[0] for line in lines_with(re.escape(REGISTRIES[0]), tmp_path)] == [
        ".ci/run:2"
    ]
    found = lines_with(whole_path(Path("/some/where")), tmp_path)
    assert [line.partition(" ")[0] for line in found] == ["image.bin:1"]


def bare_path(folder: Path, *, python: bool) -> str:
    """Return a PATH with what the Makefile's own lines use, with a Python that lacks venv or with none."""
    for name in ("make", "sh", "find", "dirname", "touch", "rm", "echo", "awk"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    if python:
        crippled = f'#!/bin/sh\ncase $2 in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
        (folder / "python3").write_text(crippled)
        (folder / "python3").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (False, ["Python 3.11 or newer is needed", "apt-get install python3 ", "brew install python"]),
        (True, ["venv and ensurepip are missing", "-venv", "brew install python"]),
    ],
    ids=["no Python", "no venv"],
)
def test_make_says_what_is_missing_and_the_line_that_installs_it(tmp_path, python, words):
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "python"],
        cwd=tmp_path,
        env={"PATH": bare_path(tmp_path / "bin", python=python), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done.stderr
