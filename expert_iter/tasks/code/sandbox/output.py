"""Reads what programs write, no more of it than is allowed and no longer than is allowed."""

import os
import select
import time
from collections.abc import Sequence


def collect(pipes: Sequence[tuple[int, int]], deadline: float) -> tuple[list[bytes], str]:
    """Reads all of `pipes`, (descriptor, most bytes) each, until the first one ends.

    Returns what each said and why reading stopped: 'end', 'time' (`deadline`, of time.monotonic())
    or 'output' (one said more than it may). Leaves the descriptors open.
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
    return [bytes(said) for said in data.values()], ended
