"""The settings: what can be set, its unit and its default. The sole reader of the environment.

Every setting is a variable `ERRAND_<NAME>`; an empty one counts as not set. What is
wrong with them is a ConfigError, whose text names the setting and never a key: pydantic's
own errors repeat their input, so whatever touches keys does not raise those.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "ERRAND_"
SQLITE = "sqlite:///"

THREADS = 32
"""Plain functions that usually run at a time: they wait more often than they compute.

Whatever they do, as many share a commit as have ended by then: with 6, no-op jobs take twice as long.
"""

MAX_GRACE = 86_400.0
"""Seconds that may be given to code that is to stop: a day."""


DAY = 86_400.0
"""A day, in seconds."""

MAX_KEPT = 36_600 * DAY
"""Seconds that something may be kept: a hundred years. Beyond that somebody has mixed up the units."""


Model = TypeVar("Model", bound=BaseSettings)


class ConfigError(Exception):
    """The settings cannot be used. The message says which, and why."""

    # Not a ValueError: pydantic would wrap one, together with the input that it came from.


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A secret, and the tenant whom it lets in. Its repr hides the secret."""

    tenant: str
    secret: SecretStr


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a service that listens on `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_processes() -> int:
    """Return the usual number of processes for functions: one for each CPU."""
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def parse_key(text: str, place: str) -> ApiKey:
    """Read `name:secret`. Raises ConfigError, which says where (`place`) and never what."""
    name, colon, secret = text.partition(":")
    if not colon:
        raise ConfigError(f"{place}: a key is written name:secret")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise ConfigError(f"{place}: a key's name is 1 to 64 letters, digits, '.', '_' or '-'")
    if not re.fullmatch(r"[!-~]+", secret):
        # Anything else could not be sent in a header, so the key would never fit.
        raise ConfigError(f"{place}: the secret is empty, or not of visible ASCII characters")
    return ApiKey(name, SecretStr(secret))


def read_key_file(path: Path) -> tuple[ApiKey, ...]:
    """Read a file with a `name:secret` in each line. Raises ConfigError, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as exc:
        raise ConfigError(f"{PREFIX}API_KEYS_FILE: {path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{PREFIX}API_KEYS_FILE: {path} is not UTF-8 text") from None
    stripped = ((number, line.strip()) for number, line in enumerate(lines, 1))
    keys = [
        parse_key(line, f"{PREFIX}API_KEYS_FILE: {path}, line {number}")
        for number, line in stripped
        if line and not line.startswith("#")
    ]
    if not keys:
        # Without this, a file emptied by mistake would open the service to everybody.
        raise ConfigError(f"{PREFIX}API_KEYS_FILE: {path} has no key in it")
    return tuple(keys)


def _split_keys(value: object) -> tuple[ApiKey, ...]:
    if isinstance(value, (tuple, list)) and all(isinstance(key, ApiKey) for key in value):
        return tuple(value)
    if not isinstance(value, str):
        raise ConfigError(f"{PREFIX}API_KEYS: write name:secret, several separated by commas")
    if not value.strip():
        return ()
    entries = enumerate(value.split(","), 1)
    return tuple(parse_key(text.strip(), f"{PREFIX}API_KEYS, entry {number}") for number, text in entries)


def read_key(path: Path) -> SecretStr:
    """Read the file with the key that a caller sends: the secret alone. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as exc:
        raise ConfigError(f"{PREFIX}API_KEY_FILE: {path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{PREFIX}API_KEY_FILE: {path} is not UTF-8 text") from None
    return _require_secret(SecretStr(text), f"{PREFIX}API_KEY_FILE: {path}")


def _require_secret(secret: SecretStr, place: str) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ConfigError(f"{place}: a key is one word of visible ASCII characters, without its name")
    return secret


def _own_key(value: object) -> object:
    return _require_secret(SecretStr(value), f"{PREFIX}API_KEY") if isinstance(value, str) else value


def _http_url(value: object) -> object:
    url = str(value)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
        # An empty part of the name, or one that is too long, is found here.
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or re.search(r"[^!-~]", url):
        raise ValueError("write http://host:port")
    if parts.username or parts.password:
        # It would be shown wherever the address is.
        raise ValueError(f"write it without a user and a password; a key goes into {PREFIX}API_KEY")
    return url.rstrip("/")


def _split_names(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _sqlite_url(value: object) -> object:
    name = str(value).removeprefix(SQLITE)
    if name == str(value) or not name or ":memory:" in name:
        raise ValueError(f"write {SQLITE}<file>; a file of this folder, or {SQLITE}/<absolute path>")
    return value


class Settings(BaseSettings):
    """What can be set. `load_settings` makes one and explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        env_file=None,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database: Annotated[str, BeforeValidator(_sqlite_url)] = Field(
        f"{SQLITE}errand.db",
        description="where the jobs are kept: sqlite:///<file>, or sqlite:////<absolute path>",
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; one that other machines can reach needs API keys",
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    tasks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)] = Field(
        ("app.tasks",), min_length=1, description="modules with the task functions, separated by commas"
    )
    threads: int = Field(
        default=THREADS, ge=1, description="plain functions that run at the same time; unless set, 32"
    )
    processes: int = Field(
        default_factory=default_processes,
        ge=1,
        description='functions with executor="process" that run at the same time, each in a process of its '
        "own, started when it is needed; unless set, one for each CPU",
    )
    coroutines: int = Field(
        1000, ge=1, description="coroutines, and generators, that run or are suspended at the same time"
    )
    drain_seconds: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds that running jobs get to finish when the service is told to stop",
    )
    cancel_grace: float = Field(
        5.0,
        ge=0,
        le=MAX_GRACE,
        allow_inf_nan=False,
        description="seconds that a function in a process gets to end once its job is to stop, before the "
        "process is killed",
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_split_keys)] = Field(
        (),
        description="who may call: name:secret, separated by commas; the name is the tenant, and may have "
        "several secrets",
    )
    api_keys_file: Path | None = Field(
        None, description="a file with more keys: one name:secret a line; # begins a comment line"
    )
    insecure: bool = Field(
        False,
        description="listen on an address that other machines can reach although there are no API keys; "
        "whoever reaches it may run tasks",
    )
    keep_jobs: float = Field(
        7 * DAY,
        ge=0,
        le=MAX_KEPT,
        allow_inf_nan=False,
        description="seconds that a job is kept once it is done, with its attempts, events and log",
    )
    keep_results: float | None = Field(
        None,
        ge=0,
        le=MAX_KEPT,
        allow_inf_nan=False,
        description="seconds that the result of a job is kept; unless set, as long as the job",
    )
    max_result_bytes: int = Field(
        1024 * 1024,
        ge=1,
        description="bytes that a job's result may take as JSON; a larger one fails the job",
    )
    max_pending: int = Field(
        1_000_000, ge=1, description="jobs that may wait in one queue; beyond that, submissions get 503"
    )
    tenant_quota: int | None = Field(
        None,
        ge=1,
        description="unfinished jobs that one tenant may have; beyond that, submissions get 429; no limit "
        "unless set",
    )
    _file_keys: tuple[ApiKey, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _read_keys(self) -> "Settings":
        # Read here, so that a bad file stops the start and not the first request.
        if self.api_keys_file is not None:
            self._file_keys = read_key_file(self.api_keys_file)
        _require_one_tenant_each(self.keys)
        return self

    @model_validator(mode="after")
    def _require_keys(self) -> "Settings":
        if not (self.local or self.keys or self.insecure):
            raise ConfigError(
                f"{PREFIX}HOST: other machines can reach {self.host}, and there are no API keys. Set "
                f"{PREFIX}API_KEYS=name:secret, or {PREFIX}INSECURE=true to let everybody in"
            )
        return self

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """All keys, those of the file included."""
        return self.api_keys + self._file_keys

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def database_path(self) -> Path:
        """The database's file."""
        return Path(self.database.removeprefix(SQLITE))


class CallerSettings(BaseSettings):
    """What a caller of the service can set. `load_caller_settings` makes one and explains what is wrong."""

    model_config = Settings.model_config

    url: Annotated[str, BeforeValidator(_http_url)] = Field(
        "http://127.0.0.1:8000", description="where the service is that the other commands call"
    )
    api_key: Annotated[SecretStr | None, BeforeValidator(_own_key)] = Field(
        None, description="the key that the other commands send: the secret alone, without its name"
    )
    api_key_file: Path | None = Field(None, description="a file with that key alone; it comes first")

    @property
    def key(self) -> SecretStr | None:
        """The key to send, None for none. Raises ConfigError when its file cannot be used."""
        return self.api_key if self.api_key_file is None else read_key(self.api_key_file)


def _require_one_tenant_each(keys: Iterable[ApiKey]) -> None:
    tenants: dict[str, str] = {}
    for key in keys:
        other = tenants.setdefault(key.secret.get_secret_value(), key.tenant)
        if other != key.tenant:
            raise ConfigError(f"the keys of {other} and {key.tenant} have the same secret")


def load_settings(**given: Any) -> Settings:
    """Return the settings: those given, then the environment's, then the defaults.

    Raises ConfigError, with a line for each setting that is wrong.
    """
    return _load(Settings, given)


def load_caller_settings(**given: Any) -> CallerSettings:
    """Return what a caller has set; as `load_settings`."""
    return _load(CallerSettings, given)


def unknown_variables() -> dict[str, str | None]:
    """Return the environment's variables that look like settings and are none, with the nearest that is."""
    known = [f"{PREFIX}{name.upper()}" for model in (Settings, CallerSettings) for name in model.model_fields]
    found = (name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, known)), None) for name in found}


def _load(model: type[Model], given: Mapping[str, Any]) -> Model:
    try:
        return model(**given)
    except ValidationError as exc:
        raise ConfigError("\n".join(_faults(exc))) from None


def _faults(exc: ValidationError) -> Iterator[str]:
    for detail in exc.errors(include_url=False, include_context=False, include_input=False):
        names = [str(part) for part in detail["loc"]]
        message = detail["msg"].removeprefix("Value error, ")
        yield f"{PREFIX}{names[0].upper()}: {message}" if names else message
