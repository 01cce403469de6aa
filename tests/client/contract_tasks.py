"""The functions of the executors' contract, as tasks."""

from app import task
from tests.core import executor_contract

add = task(executor_contract.add)
echo = task(executor_contract.echo)
fail = task(executor_contract.fail)
nothing = task(executor_contract.nothing)
raise_cancelled = task(executor_contract.raise_cancelled)


@task(name="divmod")
def divided(a: int, b: int) -> tuple[int, int]:
    return divmod(a, b)
