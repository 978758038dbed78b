"""Worker processes never hear Ctrl-C: the main process hears it, and ends them."""

import multiprocessing
import signal
import time
from concurrent.futures import BrokenExecutor

import pytest

from audit.engine.workers import _Pool, stop


def test_every_process_of_a_pool_starts_with_ctrl_c_blocked_and_the_main_process_still_hears_it():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    other.start()
    before = set(multiprocessing.active_children())
    executor = _Pool(2, int, ())
    try:
        busy = executor.submit(time.sleep, 1)
        masks = [executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()) for _ in range(8)]
        assert all(signal.SIGINT in mask.result(timeout=60) for mask in masks)
        busy.result(timeout=60)
        assert signal.SIGINT in executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result(timeout=60)
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        stop(executor)
    assert other.is_alive(), "what others started is left alone"
    assert not set(multiprocessing.active_children()) - before
    other.kill()
    other.join()


def test_all_processes_start_before_the_thread_that_watches_them_and_goes_through_them_when_one_dies(capfd):
    executor = _Pool(3, int, ())
    try:
        first = executor.submit(time.sleep, 600)
        there = dict(executor._processes)
        assert len(there) == 3
        next(iter(there.values())).kill()
        with pytest.raises(BrokenExecutor):
            first.result(timeout=60)
        assert dict(executor._processes or there) == there, "none is added later"
    finally:
        stop(executor)
    assert "Traceback" not in capfd.readouterr().err
