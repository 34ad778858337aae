"""A task whose verdict does what the solution says; worker processes import it by this name."""

import ctypes
import os
import signal
import subprocess
import sys
import time

from expert_iter.errors import UserError


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")


class HostileTask:
    name = "hostile"
    in_process = False

    def __init__(self, name, settings, imports):
        if "log" in settings:
            with open(settings["log"], "a") as file:
                file.write("started\n")
        start = settings.get("start")
        if start == "raise":
            raise KeyError("no such thing")
        if start == "refuse":
            raise UserError("task.start is refused: use another")
        if start == "exit":
            os._exit(3)
        if start == "memory":
            bytearray(1 << 40)

    def verdict(self, problem, solution):
        deed = getattr(self, f"do_{solution}", None)
        return deed() if deed else solution == problem.answer

    def do_sleep(self):
        time.sleep(3600)

    def do_spin_in_c(self):
        """Never lets another thread of its process run, nor a signal handler in Python."""
        return 9**9**9 > 0

    def do_raise(self):
        raise ValueError("of no\nvalue")

    def do_raise_unspeakable(self):
        raise Unspeakable

    def do_recurse(self):
        return self.do_recurse()

    def do_sys_exit(self):
        sys.exit(0)

    def do_interrupt(self):
        raise KeyboardInterrupt

    def do_os_exit(self):
        os._exit(0)

    def do_kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def do_stop(self):
        os.kill(os.getpid(), signal.SIGSTOP)

    def do_crash(self):
        ctypes.string_at(0)

    def do_memory(self):
        hoard = []
        while True:
            hoard.append(bytearray(1 << 24))

    def do_memory_in_c(self):
        return b"x" * (1 << 40)

    def do_close_files(self):
        os.closerange(0, 100)
        return True

    def do_write_everywhere(self):
        for fd in range(100):
            try:
                os.write(fd, b"nonsense\n")
            except OSError:
                pass
        return True

    def do_start_another(self):
        """Leaves a process behind and hangs."""
        subprocess.Popen(["sleep", "3599"])
        time.sleep(3600)

    # These harm nobody, and are right.

    def do_print(self):
        print("-\n!said so\n" * 1000, flush=True)
        os.write(1, b"-\n")
        os.system("echo -; echo - >&2")
        return sys.stdin.read() == ""

    def do_fork(self):
        """Both processes come back."""
        os.fork()
        return True

    def do_look_for_jax(self):
        return "jax" not in sys.modules
