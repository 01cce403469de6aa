"""What a worker says that it is at."""

import threading

from app.jobs.model import Slot
from tests.worker.house import PATIENCE, House


def test_a_worker_shows_its_slots_and_what_runs_in_them(tmp_path):
    go = threading.Event()
    began = threading.Semaphore(0)

    def hold():
        began.release()
        go.wait(PATIENCE)

    house = House(tmp_path, hold, threads=3, processes=2, coroutines=5)
    try:
        assert not house.worker.status().claiming
        house.start()
        idle = house.worker.status()
        assert idle.claiming
        assert idle.slots == {Slot.THREAD: 3, Slot.PROCESS: 2, Slot.COROUTINE: 5}
        assert set(idle.used.values()) == {0}
        assert idle.running == []
        jobs = [house.submit(hold) for _ in range(4)]
        for _ in range(3):
            assert began.acquire(timeout=PATIENCE)
        busy = house.worker.status()
        assert busy.used == {Slot.THREAD: 3, Slot.PROCESS: 0, Slot.COROUTINE: 0}
        assert {job.id for job in busy.running} < {job.id for job in jobs}
        assert all(job.started_at and job.attempt == 1 for job in busy.running)
        go.set()
        for job in jobs:
            house.wait_for(job)
        house.worker.drain(PATIENCE)
        assert not house.worker.status().claiming
        assert house.worker.status().running == []
    finally:
        go.set()
        house.close()


def test_a_job_that_was_put_back_takes_its_slot_until_its_code_has_ended(tmp_path):
    go, began = threading.Event(), threading.Event()

    def hold():
        began.set()
        go.wait(PATIENCE)

    house = House(tmp_path, hold)
    try:
        house.start()
        house.submit(hold)
        assert began.wait(PATIENCE)
        assert not house.worker.drain(0)
        status = house.worker.status()
        assert (status.running, status.used[Slot.THREAD]) == ([], 1)
    finally:
        go.set()
        house.close()
