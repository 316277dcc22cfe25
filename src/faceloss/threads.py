"""How many threads the numerics may take, and the preparation of batches beside them."""

import multiprocessing
import os

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def single_threaded_numpy() -> None:
    """One thread for NumPy in processes started, and in this one if it has not imported NumPy yet.

    Runs share the cores already, and sums in another order have other last bits: records must not depend on it.
    """
    for name, number in ONE_THREAD.items():
        os.environ.setdefault(name, number)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def data_threads(device: str, taken: int) -> int:
    """How many threads prepare batches beside the ``taken`` ones that train on ``device``; 0 = the training one does.

    On a CPU preparation is a fifth of a step at most, so one thread keeps ahead of it; it needs a core of its own, and
    the workers of a study have none to spare. A GPU waits for its batches: up to four, after which Python's
    interpreter lock lets no more of them run.
    """
    if device != "cpu":
        return min(4, cores() - 1)
    return int(cores() > taken and multiprocessing.parent_process() is None)
