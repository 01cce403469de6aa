"""RemoteFuture: the contract of futures, with a service whose worker is the test."""

import json
import threading

import pytest

from app.client import RemoteExecutor, RemoteFuture
from app.jobs.lifecycle import Failed, Succeeded
from app.jobs.model import Failure
from tests.api.conftest import running
from tests.core.future_contract import SOON, FutureContract, Producer


class RemoteProducer(Producer):
    def __init__(self, api, executor, heard):
        self.api = api
        self.heard = heard
        self.future = executor.submit("anything")

    def start(self):
        (self.job,) = self.api.claim()
        assert self.heard.acquire(timeout=SOON)

    def succeed(self, result):
        self._end(Succeeded(self.job.token, json.dumps(result)))

    def fail(self):
        self._end(Failed(self.job.token, Failure("ValueError", "broken", "")))

    def _end(self, event):
        # The last callback: the others have run by then.
        told = threading.Event()
        self.future.add_done_callback(lambda _: told.set())
        self.api.apply(self.job.id, event)
        assert told.wait(SOON)


class TestRemoteFuture(FutureContract):
    @pytest.fixture(autouse=True)
    def _house(self, tmp_path, monkeypatch):
        self.heard = threading.Semaphore(0)
        started = RemoteFuture._started

        def note(future):
            started(future)
            self.heard.release()

        monkeypatch.setattr(RemoteFuture, "_started", note)
        with running(tmp_path / "jobs.db") as self.api:
            self.executor = RemoteExecutor(self.api.url)
            yield
            self.executor.close()

    def make_future(self):
        return RemoteProducer(self.api, self.executor, self.heard)
