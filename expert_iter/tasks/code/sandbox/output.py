"""Reads the output of programs, up to a size and a deadline."""

import os
import select
import time
from collections.abc import Sequence


def collect(pipes: Sequence[tuple[int, int]], deadline: float) -> tuple[list[bytes], str]:
    """Reads several pipes until the first one in the list ends. Does not close them.

    Args:
      pipes: (file descriptor, maximal bytes) of each.
      deadline: in seconds of `time.monotonic`.

    Returns:
      The bytes of each pipe, and why reading stopped: 'end' of the first pipe, 'time', or 'output'
      if a pipe exceeded its maximum.
    """
    data = {descriptor: bytearray() for descriptor, _ in pipes}
    most = dict(pipes)
    poll = select.poll()
    for descriptor in data:
        poll.register(descriptor, select.POLLIN)
    ended = ""
    while not ended:
        left = deadline - time.monotonic()
        ready = poll.poll(max(0.0, left) * 1000)
        if not ready or left <= 0:
            ended = "time"
        for descriptor, _ in ready:
            room = most[descriptor] - len(data[descriptor])
            chunk = os.read(descriptor, min(room + 1, 1 << 16))
            data[descriptor] += chunk[:room]
            if len(chunk) > room:
                ended = "output"
            if not chunk:
                poll.unregister(descriptor)
                if descriptor == pipes[0][0]:
                    ended = ended or "end"
    return [bytes(part) for part in data.values()], ended
