"""A task whose world does what the last line says; worker processes import it by this name."""

import os
import signal
import time

from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation


class HostileWorld:
    marks = ()
    in_process = False

    def observe(self, prompt, text):
        deed, _, word = text.rpartition("\n")[2].partition(" ")
        if deed == "sleep":
            time.sleep(3600)
        if deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "memory":
            bytearray(1 << 40)
        if deed == "raise":
            raise ValueError("of no\nvalue")
        if deed == "long":
            return Observation("x" * 100_000)
        if deed == "none":
            return None
        if deed == "number":
            return Observation(5)
        if deed == "status":
            return Observation("", "unheard of")
        if deed == "who":
            return Observation(str(os.getpid()))
        if deed == "touch":
            open(word, "w").close()
            time.sleep(3600)
        status = {"over": OVER, "illegal": ILLEGAL}.get(deed, GOES_ON)
        return Observation(f"{prompt}|{text}", status)


class HostileTask:
    name = "hostile"

    def __init__(self, name, settings, imports):
        self.world = HostileWorld()
