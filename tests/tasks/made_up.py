"""Small made-up files in the formats that the real ones are published in."""

import gzip
import json
from pathlib import Path

NAMES = "Ada Bo Cy Dee Eli Fay Gus Hal Ida Jo Kim Lee Mo Nat Ola Pam".split()
THINGS = "pears kites drums boats masks bells cups nets pins rugs tops vans".split()


def lines(path: Path, records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def gsm8k(folder: Path, train: int = 120, test: int = 8, part: bool = False) -> Path:
    """Question i of the training file has the answer i + 1,000, written with its comma."""

    def record(i, verb):
        return {
            "question": f"{NAMES[i % 16]} {verb} {i} {THINGS[i % 12]} and 1000 more. How many?",
            "answer": f"{i}+1000=<<{i}+1000={i + 1000}>>{i + 1000} of them.\n\n#### {i + 1000:,}",
        }

    lines(folder / "train.jsonl", [record(i, "buys") for i in range(train)])
    name = "test_0000_0659.jsonl" if part else "test.jsonl"
    lines(folder / name, [record(i, "sells") for i in range(test)])
    return folder


def svamp(folder: Path, stories: int = 60) -> Path:
    """Each story comes twice, with other numbers; its first body lacks the full stop."""
    rows = []
    for i in range(2 * stories):
        story, again = i // 2, i % 2
        rows.append(
            {
                "ID": f"made-{i + 1}",
                "Body": f"{NAMES[story % 16]} has {story + again} {THINGS[story // 5]} and loses 1"
                + "." * again,
                "Question": "How many are left?",
                "Equation": f"( {story + again}.0 - 1.0 )",
                "Answer": float(story + again - 1),
                "Type": "Subtraction",
            }
        )
    (folder / "SVAMP.json").write_text(json.dumps(rows, indent=4))
    return folder


def mawps(folder: Path, each: int = 40) -> Path:
    """The first five questions of each set are the same, but for blanks and case."""
    for k, name in enumerate(("addsub", "multiarith", "singleeq", "singleop")):
        rows = []
        for i in range(each):
            who, what = NAMES[i % 16], THINGS[(i + k) % 12 if i >= 5 else i % 12]
            text = f"{who} has {i} {what} . How many are {i} {what} less 0.5 ?"
            if i < 5 and k % 2:
                text = text.replace(" .", ".").replace("How", "how")
            rows.append({"input": text, "target": i - 0.5 if k % 2 == 0 or i < 5 else i})
        lines(folder / f"{name}.jsonl", rows)
    return folder


def mbpp(folder: Path, rows: int = 620) -> Path:
    lines(
        folder / "mbpp.jsonl",
        [
            {
                "text": f"Write a function that adds {i} to a number.",
                "code": f"def add_{i}(x):\r\n    y = x + {i}\r\n\r\n    return y",
                "task_id": i,
                "test_setup_code": "import math" if i == 602 else "",
                "test_list": [f"assert add_{i}({x}) == {x + i}" for x in (0, 7)],
                "challenge_test_list": [],
            }
            for i in range(1, rows + 1)
        ],
    )
    return folder


def humaneval(folder: Path, rows: int = 3) -> Path:
    text = "".join(
        json.dumps(
            {
                "task_id": f"HumanEval/{i}",
                "prompt": f'def plus_{i}(x):\n    """Adds {i} to x."""\n',
                "entry_point": f"plus_{i}",
                "canonical_solution": f"    return x + {i}\n",
                "test": f"def check(candidate):\n    assert candidate(1) == {1 + i}\n",
            }
        )
        + "\n"
        for i in range(rows)
    )
    (folder / "HumanEval.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


WRITERS = {f.__name__: f for f in (gsm8k, svamp, mawps, mbpp, humaneval)}
