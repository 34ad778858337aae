"""Runs `python -m expert_iter.contamination`, under the command's old name."""

import runpy

if __name__ == "__main__":
    runpy.run_module("expert_iter.contamination", run_name="__main__", alter_sys=True)
