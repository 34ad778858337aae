import io
import re
import sys

import pytest

from expert_iter.storage import progress as lib


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(lib.time, "monotonic", lambda: self.now)


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    clock = Clock(monkeypatch)
    with lib.progress(100, "self-play", done=40, unit="problems") as bar:
        for step in range(6):
            clock.now += 10
            bar.update(10, solved=0.123456, step=step)
    out, err = capsys.readouterr()
    assert out == ""
    # At 10 problems in 10 s, a line is due at 20 s (60 done) and 40 s (80 done), and at the end.
    assert err.splitlines() == [
        "self-play: 60/100 problems in 00:20, 00:40 left  solved 0.1235, step 1",
        "self-play: 80/100 problems in 00:40, 00:20 left  solved 0.1235, step 3",
        "self-play: 100/100 problems in 01:00  solved 0.1235, step 5",
    ]


def test_the_closing_line_says_how_far_it_came(capsys):
    with pytest.raises(RuntimeError), lib.progress(3, "learn") as bar:
        bar.update()
        raise RuntimeError
    assert re.fullmatch(r"learn: 1/3 it in 00:00\n", capsys.readouterr().err)


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with lib.progress(10, "learn", done=5, unit="step") as bar:
        bar.update(5, loss=1.5)
    text = terminal.getvalue()
    assert "learn" in text and "10/10" in text and "loss 1.5" in text and "\r" in text
