"""How the C library's allocator treats memory that XLA's CPU programs, and NumPy, have freed."""

import ctypes

# malloc.h of glibc, and mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_CHOICES = {
    _MMAP_THRESHOLD: 32 << 20,  # the most that glibc takes
    _TRIM_THRESHOLD: (1 << 31) - 1,
    _TOP_PAD: 64 << 20,
}


def keep_freed_memory() -> None:
    """Has the process keep memory that it has freed, up to 2 GiB, for its next buffers.

    By itself glibc gives the ends of its heap back to the kernel, which hands it out again page by
    page, each cleared: a fifth of the time of a small update on CPU (docs/results.md). Where
    the C library is another one, nothing happens.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, value in _CHOICES.items() if choose else ():
        choose(name, value)
