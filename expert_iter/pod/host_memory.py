"""How the C library's allocator treats memory that XLA on CPU, and NumPy, have freed."""

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {
    _MMAP_THRESHOLD: 32 << 20,  # the largest that glibc accepts
    _TRIM_THRESHOLD: (1 << 31) - 1,  # the largest int: 2 GiB
    _TOP_PAD: 64 << 20,  # grow the heap in few, large pieces
}


def keep_freed_memory() -> None:
    """Keeps up to 2 GiB of freed memory in this process for its next buffers.

    By default glibc returns the end of its heap to the kernel, which clears each page before it
    gives it back. That took a fifth of a small update on CPU (docs/results.md). Other C libraries
    have no `mallopt`, and nothing changes there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, value in _SETTINGS.items() if mallopt else ():
        mallopt(parameter, value)


def release_freed_memory() -> None:
    """Returns the freed memory that this process keeps to the kernel, where glibc is there."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
