"""Settings: the environment and its faults, and that no key is ever shown."""

import pytest
from pydantic import ValidationError

from app.config import (
    CallerSettings,
    ConfigError,
    Settings,
    default_processes,
    is_loopback,
    load_caller_settings,
    load_settings,
)

SECRET = "very-secret"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    import os

    for name in os.environ:
        if name.upper().startswith("ERRAND_"):
            monkeypatch.delenv(name)


@pytest.fixture
def key_file(tmp_path):
    def write(content):
        path = tmp_path / "keys"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def pairs(settings):
    return [(key.tenant, key.secret.get_secret_value()) for key in settings.keys]


def test_defaults():
    settings = load_settings()
    assert settings.database == "sqlite:///errand.db"
    assert str(settings.database_path) == "errand.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.tasks == ("app.tasks",)
    assert settings.threads == 32
    assert settings.processes == default_processes() >= 1
    assert (settings.coroutines, settings.drain_seconds, settings.cancel_grace) == (1000, 30, 5)
    assert settings.keys == ()
    assert settings.insecure is False
    assert settings.max_result_bytes == 1024 * 1024
    assert (settings.keep_jobs, settings.keep_results) == (7 * 86_400, None)
    assert (settings.max_pending, settings.tenant_quota) == (1_000_000, None)


def test_every_setting_explains_itself():
    for name, field in (*Settings.model_fields.items(), *CallerSettings.model_fields.items()):
        assert field.description, name


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("ERRAND_TASKS", "app.tasks, my_module ,")
    monkeypatch.setenv("ERRAND_PORT", "9000")
    monkeypatch.setenv("ERRAND_INSECURE", "true")
    monkeypatch.setenv("ERRAND_TENANT_QUOTA", "10")
    monkeypatch.setenv("ERRAND_PROCESSES", "3")
    monkeypatch.setenv("ERRAND_CANCEL_GRACE", "0.5")
    monkeypatch.setenv("ERRAND_DATABASE", "sqlite:////var/lib/errand.db")
    settings = load_settings()
    assert settings.tasks == ("app.tasks", "my_module")
    assert (settings.port, settings.insecure, settings.tenant_quota) == (9000, True, 10)
    assert (settings.processes, settings.cancel_grace) == (3, 0.5)
    assert str(settings.database_path) == "/var/lib/errand.db"


def test_what_is_given_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("ERRAND_PORT", "9000")
    assert load_settings(port=9001).port == 9001


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_variable_counts_as_not_set(monkeypatch, name):
    monkeypatch.setenv(f"ERRAND_{name}", "")
    assert load_settings() == Settings()


def test_a_file_of_settings_in_the_folder_is_not_read(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("ERRAND_PORT=9000\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "many"),
        ("port", "65536"),
        ("threads", "0"),
        ("coroutines", "-1"),
        ("processes", "0"),
        ("processes", "many"),
        ("cancel_grace", "-1"),
        ("cancel_grace", "nan"),
        ("cancel_grace", "86401"),
        ("keep_jobs", "-1"),
        ("keep_jobs", "inf"),
        ("keep_results", "1e12"),
        ("drain_seconds", "nan"),
        ("drain_seconds", "-1"),
        ("tasks", ","),
        ("insecure", "perhaps"),
        ("max_result_bytes", "0"),
        ("max_pending", "0"),
        ("tenant_quota", "0"),
        ("database", "errand.db"),
        ("database", "postgresql://localhost/errand"),
        ("database", "sqlite:///"),
        ("database", "sqlite:///:memory:"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(f"ERRAND_{name.upper()}", value)
    with pytest.raises(ConfigError, match=f"ERRAND_{name.upper()}: "):
        load_settings()


def test_all_wrong_values_are_named_together():
    with pytest.raises(ConfigError, match=r"(?s)ERRAND_PORT: .*\nERRAND_THREADS: "):
        load_settings(port=-1, threads=0)


def test_an_unknown_setting_is_an_error():
    with pytest.raises(ConfigError, match="ERRAND_COLOUR"):
        load_settings(colour="red")


# Keys


def test_keys_are_pairs_of_name_and_secret_and_a_name_may_have_several(monkeypatch):
    monkeypatch.setenv("ERRAND_API_KEYS", "books:one, books:two,ops:with:colon=")
    assert pairs(load_settings()) == [("books", "one"), ("books", "two"), ("ops", "with:colon=")]


def test_keys_of_a_file_are_added(monkeypatch, key_file):
    monkeypatch.setenv("ERRAND_API_KEYS", "books:one")
    monkeypatch.setenv("ERRAND_API_KEYS_FILE", key_file("\ufeff# rotated\r\n\r\n  ops:a,b \n\nbooks:two\n"))
    assert pairs(load_settings()) == [("books", "one"), ("ops", "a,b"), ("books", "two")]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (SECRET, "entry 1"),
        (f"books:{SECRET},{SECRET}", "entry 2"),
        (f"books:{SECRET},ops:", "entry 2"),
        (f":{SECRET}", "entry 1"),
        (f"a b:{SECRET}", "entry 1"),
        (f"books:{SECRET} x", "entry 1"),
        (f"books:{SECRET}é", "entry 1"),
        (f"books:{SECRET},", "entry 2"),
        (f"books:{SECRET},ops:{SECRET}", "books and ops"),
        (",", "entry 1"),
    ],
)
def test_a_bad_key_is_an_error_that_says_where_and_not_what(monkeypatch, value, complaint):
    monkeypatch.setenv("ERRAND_API_KEYS", value)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_settings()
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (f"# keys\n\nbooks:{SECRET}\n{SECRET}\n", "line 4"),
        (f"books:{SECRET}\nops:\n", "line 2"),
        (f"books:{SECRET}\nops:{SECRET}\n", "books and ops"),
        ("", "no key"),
        ("# books:x\n", "no key"),
        (f"books:{SECRET}".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_bad_key_file_is_an_error_that_names_the_line_and_not_the_secret(key_file, content, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_settings(api_keys_file=key_file(content))
    assert SECRET not in repr(caught.value)


def test_a_key_file_that_is_missing_or_a_folder_is_an_error(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigError, match=r"ERRAND_API_KEYS_FILE: .* cannot be read"):
            load_settings(api_keys_file=str(path))


def test_keys_are_shown_nowhere(key_file):
    settings = load_settings(api_keys=f"books:{SECRET}", api_keys_file=key_file("ops:other-secret"))
    shown = f"{settings!r} {settings} {settings.keys} {settings.model_dump()} {settings.model_dump_json()}"
    assert "books" in shown
    assert SECRET not in shown
    assert "other-secret" not in shown


def test_no_error_of_another_setting_shows_the_keys(monkeypatch):
    monkeypatch.setenv("ERRAND_API_KEYS", f"books:{SECRET}")
    monkeypatch.setenv("ERRAND_PORT", "many")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.errors()}"
    with pytest.raises(ConfigError) as told:
        load_settings()
    assert SECRET not in repr(told.value)


def test_keys_of_the_wrong_type_are_an_error_that_does_not_show_them():
    with pytest.raises(ConfigError, match="name:secret") as caught:
        load_settings(api_keys={"books": SECRET})
    assert SECRET not in repr(caught.value)


def test_keys_may_be_handed_on_as_they_are():
    keys = load_settings(api_keys="books:one").keys
    assert load_settings(api_keys=keys).keys == keys


# Who can reach it


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_an_address_of_this_machine_needs_no_keys(host):
    assert is_loopback(host)
    assert load_settings(host=host).local


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.1", "localhost.example.org"]
)
def test_an_address_that_others_can_reach_needs_keys_or_the_word(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match=r"ERRAND_HOST: .*ERRAND_API_KEYS.*ERRAND_INSECURE"):
        load_settings(host=host)
    assert load_settings(host=host, api_keys="books:secret").keys
    assert not load_settings(host=host, insecure=True).local


# Of whoever calls a service


def test_a_caller_needs_no_settings():
    settings = load_caller_settings()
    assert (settings.url, settings.key) == ("http://127.0.0.1:8000", None)
    # The address where `errand serve` listens without any.
    assert settings.url == f"http://{load_settings().host}:{load_settings().port}"


def test_a_callers_settings_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ERRAND_URL", "https://errand.example:8443/jobs/")
    monkeypatch.setenv("ERRAND_API_KEY", SECRET)
    settings = load_caller_settings()
    assert settings.url == "https://errand.example:8443/jobs"
    assert settings.key.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert load_caller_settings(url="http://[::1]:8000").url == "http://[::1]:8000"


def test_a_callers_key_file_comes_before_the_key(monkeypatch, tmp_path):
    (tmp_path / "key").write_text(f"\ufeff {SECRET}\n", "utf-8")
    monkeypatch.setenv("ERRAND_API_KEY", "another")
    assert load_caller_settings(api_key_file=tmp_path / "key").key.get_secret_value() == SECRET


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff", b"a\nb"])
def test_a_callers_key_file_that_holds_no_key_is_named_and_not_shown(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    settings = load_caller_settings(api_key_file=tmp_path / "key")
    with pytest.raises(ConfigError, match=r"ERRAND_API_KEY_FILE: .*key") as raised:
        _ = settings.key
    assert "two words" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://a b",
        "http://x?y",
        "http://x\x1b",
        "http://a..b",
    ],
)
def test_an_address_that_is_none_is_refused(monkeypatch, url):
    with pytest.raises(ConfigError, match="ERRAND_URL: write http://host:port"):
        load_caller_settings(url=url)


def test_a_secret_in_an_address_or_a_key_with_blanks_is_refused_and_not_shown():
    for given in ({"url": f"http://me:{SECRET}@host"}, {"api_key": f"{SECRET} and more"}):
        with pytest.raises(ConfigError) as raised:
            load_caller_settings(**given)
        assert SECRET not in str(raised.value)
