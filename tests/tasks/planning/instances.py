"""Instances in PDDL: some made here, and PlanBench's where EXPERT_ITER_DATA has them."""

import json
import os
from pathlib import Path

import pytest

MADE = {
    "reversed": ("abc", "(on b a) (on c b)", "(on a b) (on b c)"),
    "two towers": ("abcd", "(on b a) (on d c)", "(on d a) (on b c)"),
    "one fact": ("abcd", "(on d c) (on c b) (on b a)", "(on a d)"),
    "from the table": ("abc", "", "(on a b) (on b c)"),
    "a swap": ("abcd", "(on b a) (on d c)", "(on a b) (on c d)"),
}


def pddl(blocks, on, goal):
    """An instance in the form of PlanBench's, from its facts `on`."""
    pairs = [fact.strip(" ()").split()[1:] for fact in on.split(")") if fact.strip()]
    upper, lower = {x for x, _ in pairs}, {y for _, y in pairs}
    table = "\n".join(f"(ontable {x})" for x in blocks if x not in upper)
    clear = "\n".join(f"(clear {x})" for x in blocks if x not in lower)
    return (
        f"\n\n(define (problem BW-rand-{len(blocks)})\n(:domain blocksworld-4ops)\n"
        f"(:objects {' '.join(blocks)} )\n(:init\n(handempty)\n{table}\n{on}\n{clear}\n)\n"
        f"(:goal\n(and\n{goal})\n)\n)\n\n\n"
    )


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def made(folder):
    """A file like the published ones."""
    records = [{"id": f"{name}.pddl", "pddl": pddl(*made)} for name, made in MADE.items()]
    return write(folder / "made.jsonl", records)


def published(name):
    """A published file. Skips the test where it is not there."""
    path = Path(os.environ.get("EXPERT_ITER_DATA", "/nowhere"), "blocksworld", f"{name}.jsonl")
    if not path.is_file():
        pytest.skip("EXPERT_ITER_DATA names no folder with blocksworld/")
    return path
