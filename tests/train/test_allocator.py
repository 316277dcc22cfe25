"""Freed memory is used again without page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, numpy
from faceloss.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def work():
    large = numpy.ones(2**25, numpy.uint8)
    del large
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be asked to keep freed memory")
def test_memory_is_used_again() -> None:
    faults = {}
    for how in ("keep", "default"):
        run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        faults[how] = int(run.stdout)
    if faults["default"] < 100:
        pytest.skip("this system keeps freed memory anyway")
    assert faults["keep"] < 100
