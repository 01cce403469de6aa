"""RemoteExecutor: the contract of executors, over HTTP."""

import pytest

from app.client import RemoteExecutor
from app.testing import running
from tests.core.executor_contract import ExecutorContract


@pytest.fixture(scope="module")
def service():
    with running(["tests.client.contract_tasks"]) as service:
        yield service


class TestRemoteExecutor(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _service(self, service):
        self.service = service

    def make_executor(self):
        return RemoteExecutor(self.service.url)


class TestRemoteExecutorOfAClient(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _service(self, service):
        self.service = service

    def make_executor(self):
        return RemoteExecutor(self.service.client.options(queue="contract", priority=1))
