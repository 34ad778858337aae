"""Memory that was freed is used again, and not asked of the kernel page by page."""

import os
import subprocess
import sys
import textwrap

import pytest

PAGE = os.sysconf("SC_PAGE_SIZE")
SIZE, TIMES = 16 << 20, 20


def page_faults(prepare):
    """How many it costs a process to fill and free so many bytes so many times."""
    program = f"""
        import resource
        import numpy as np
        from expert_iter.pod.host_memory import keep_freed_memory
        {prepare}
        def fill():
            parts = [np.empty({SIZE // 4}, np.uint8) for _ in range(4)]
            for part in parts:
                part[:] = 1
        fill()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range({TIMES}):
            fill()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    # NumPy would ask for huge pages, where there are some.
    environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_is_used_again():
    pages = SIZE // PAGE
    assert page_faults("keep_freed_memory()") < pages
    assert page_faults("") > TIMES * pages / 4, "else there is no need for it"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_is_returned_when_asked():
    program = f"""
        from expert_iter.pod.host_memory import keep_freed_memory, release_freed_memory
        def held():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * {PAGE}
        keep_freed_memory()
        before = held()
        parts = [bytearray(b"x") * (1 << 16) for _ in range(1 << 10)]
        del parts
        kept = held() - before
        release_freed_memory()
        print(kept, held() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 1 << 25 and left < kept / 4
