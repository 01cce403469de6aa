"""app.testing: the service that users test their tasks with."""

import threading

import pytest

from app.jobs.errors import TaskDefinitionError
from app.testing import errand, errand_settings, errand_tasks, running  # noqa: F401  (fixtures)
from tests.client import client_tasks
from tests.client.client_tasks import add

SOON = 30
TASKS = ["tests.client.client_tasks"]


@pytest.fixture
def errand_tasks():  # noqa: F811  (as users do)
    return TASKS


def test_jobs_run_as_they_do_in_production(errand):  # noqa: F811
    assert errand.executor.submit(add, 1, 2).result(SOON) == 3
    assert errand.client.result(errand.client.submit("add", 1, 2).id, SOON) == 3
    assert errand.url.startswith("http://127.0.0.1:")


def test_functions_see_what_a_test_has_patched(errand, monkeypatch):  # noqa: F811
    raised = threading.Event()
    monkeypatch.setattr(client_tasks.ShelfError, "__init__", lambda *_: raised.set())
    errand.executor.submit("fail_its_own_way").exception(SOON)
    assert raised.is_set()


def test_what_jobs_print_is_theirs(errand, capsys):  # noqa: F811
    job = errand.client.until_done(errand.client.submit("talk").id, SOON)
    assert [line.message for line in errand.client.logs(job.id)] == ["printed", "logged\u2028on"]


class TestSettings:
    @pytest.fixture
    def errand_settings(self):
        return {"threads": 1}

    def test_settings_are_the_tests_to_choose(self, errand):  # noqa: F811
        (worker,) = errand.client.workers()
        assert [slots.total for slots in worker.slots if slots.kind == "thread"] == [1]


def test_keys_of_the_shell_do_not_lock_tests_out(monkeypatch):
    monkeypatch.setenv("ERRAND_API_KEYS", "books:secret")
    with running(TASKS) as service:
        assert service.executor.submit(add, 1).result(SOON) == 2


def test_each_has_a_database_of_its_own_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        with running(TASKS) as service:
            assert list(service.client.jobs()) == []
            service.executor.submit("nothing").result(SOON)
    assert list(tmp_path.iterdir()) == []


def test_two_may_run_side_by_side():
    with running(TASKS) as one, running(TASKS) as other:
        assert one.url != other.url
        one.executor.submit("nothing").result(SOON)
        assert list(other.client.jobs()) == []


def test_a_job_that_hangs_does_not_keep_the_test_from_its_end(gate):
    with running(TASKS) as service:
        service.client.submit("hold")
        assert gate.BEGUN.acquire(timeout=SOON)
    assert not gate.GO_ON.is_set()
    gate.GO_ON.set()


def test_its_threads_are_gone_in_the_end():
    before = set(threading.enumerate())
    with running(TASKS) as service:
        service.executor.submit("nothing").result(SOON)
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("errand-")]
    for thread in left:
        thread.join(SOON)
    assert not [thread for thread in left if thread.is_alive()]


def test_what_is_wrong_with_the_tasks_is_said():
    with pytest.raises(TaskDefinitionError), running(["tests.client.no_such_module"]):
        pass
