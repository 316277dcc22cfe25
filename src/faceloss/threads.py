"""How many threads the numerics may take."""

import os


def single_threaded_numpy() -> None:
    """One thread for NumPy in processes started, and in this one if it has not imported NumPy yet.

    Runs share the cores already, and sums in another order have other last bits: records must not depend on it.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
