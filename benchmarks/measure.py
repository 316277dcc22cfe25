"""What the benchmarks share: interleaved CPU seconds, peak memory, errors, and both settings of the allocator.

A benchmark is a script that imports this file, calls :func:`header`, prints its table and ends with
:func:`with_tuned_allocator`, which runs it a second time. Everything runs on one thread: on a machine that does other
work too, CPU seconds of one thread hold within some 10 %, wall time and two threads do not.
"""

import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

# By default glibc returns each large temporary to the system and pays its page faults again in the next step. With
# these it keeps them, and a ratio of times no longer counts whose temporaries are the larger.
TUNED = "glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184"


def header(*packages: str) -> None:
    """Set one thread and print the machine, the versions of torch and of ``packages``, and the allocator."""
    torch.set_num_threads(1)
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    print(f"{versions}, Python {platform.python_version()}, {processor()}, 1 thread, {allocator()} allocator")


def processor() -> str:
    """The model of the CPU, as the system names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def allocator() -> str:
    """ "tuned" when this process runs with :data:`TUNED`, else "default"."""
    return "tuned" if TUNED in os.environ.get("GLIBC_TUNABLES", "") else "default"


def with_tuned_allocator() -> None:
    """The last line of a benchmark: run the script once more with the tuned allocator; there it does nothing."""
    if allocator() == "tuned":
        return
    print(flush=True)
    environment = {**os.environ, "GLIBC_TUNABLES": TUNED}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def chosen(tables: Iterable[str]) -> None:
    """End the script with a sentence where the command line names none of its ``tables``."""
    if unknown := [name for name in sys.argv[1:] if name not in tables]:
        sys.exit(f"{sys.argv[0]}: no table is named '{unknown[0]}'; there are {', '.join(tables)}.")


def interleaved(functions: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1) -> dict[str, float]:
    """Median CPU seconds of each function, called in turn A B C A B C; the first ``warm`` rounds do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warm + rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn >= warm:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def peak_mib(function: Callable[[], object]) -> float:
    """MiB by which one call of ``function`` raises the resident memory at its highest; nan where Linux is not.

    Call it once before, so that what torch loads on first use does not count.
    """
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what a tuned allocator kept from earlier calls would be there for free
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _kib("VmRSS")
    function()
    return (_kib("VmHWM") - before) / 1024


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def relative_error(value: Tensor, exact: Tensor) -> float:
    """||value - exact|| / ||exact||, in float64."""
    return float((value.double() - exact.double()).norm() / exact.double().norm())
