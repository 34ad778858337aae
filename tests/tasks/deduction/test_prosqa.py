"""ProsQA: published edges and steps, and graphs that are made, read by a parser of their own."""

import collections
import json
import math
from pathlib import Path

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.deduction.prosqa import random_graph
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER

SIZES = {"train_size": 60, "validation_size": 10, "test_size": 10}


def text(lines):
    return "".join(f"{line}\n" for line in lines)


def read(prompt):
    """Children by node, the name that is asked about, and the two options."""
    context, question = prompt.strip().split("\n")
    children = collections.defaultdict(set)
    for sentence in context.rstrip(".").split(". "):
        words = sentence.split()
        children[words[-4]].add(words[-1])
    words = question.rstrip("?").split()
    return children, words[1], (words[3], words[5])


def distances(children, start):
    found, waiting = {start: 0}, collections.deque([start])
    while waiting:
        node = waiting.popleft()
        for child in children[node] - set(found):
            found[child] = found[node] + 1
            waiting.append(child)
    return found


def derived(row):
    """The published steps as facts about the name. The first step is a fact of the prompt."""
    name = row["steps"][0].split()[0]
    return [f"{name} is a {step.split()[-1]}" for step in row["steps"][1:]]


@pytest.fixture(scope="module")
def rows(published):
    task = published("prosqa")
    pairs = []
    for split, file in (("validation", "prosqa_valid.json"), ("test", "prosqa_test.json")):
        records = json.loads(Path(task.config.data_dir, file).read_text())
        pairs += zip(records, task.problems(split), strict=True)
    return pairs, task


def test_published_steps_are_right_and_no_gold_proof_is_longer(rows, published):
    pairs, task = rows
    gold = published("prosqa", demonstrations="gold")
    for row, problem in pairs:
        lines = derived(row)
        assert task.verdict(problem, text(lines)) and lines[-1] == row["answer"] == problem.answer
        shown = gold.demonstration(problem, np.random.default_rng(0))
        assert task.verdict(problem, shown) and shown.count("\n") == len(lines)


def test_published_steps_with_one_altered_are_refused(rows):
    """With another concept that its predecessor does not lead to, with another name, left out."""
    pairs, task = rows
    rng = np.random.default_rng(0)
    for row, problem in pairs:
        lines, symbols = derived(row), row["idx_to_symbol"]
        edges = {(symbols[a], symbols[b]) for a, b in row["edges"]}
        name = symbols[row["root"]]
        known = {name} | {b for a, b in edges if a == name}
        for i, line in enumerate(lines[:-1]):
            unknown = [s for s in symbols if all((a, s) not in edges for a in known) and s > "a"]
            unknown = sorted(set(unknown) - {symbols[row[key]] for key in ("target", "neg_target")})
            for altered in (
                f"{name} is a {rng.choice(unknown)}.",
                line.replace(name, "Nobody"),
                line.replace(f"{name} is", f"{name} is not"),
                line.replace(".", ""),
            ):
                changed = [*lines[:i], altered]
                assert task.world.observe(problem.prompt, text(changed)) == ("", ILLEGAL)
                assert not task.verdict(problem, text([*changed, *lines[i + 1 :]]))
            known.add(line.split()[-1].rstrip("."))


def test_the_world_agrees_with_the_published_edges(rows):
    """On each concept as the next step, after each prefix of the published steps."""
    pairs, task = rows
    for row, problem in pairs[::10]:
        symbols = row["idx_to_symbol"]
        edges = {(symbols[a], symbols[b]) for a, b in row["edges"]}
        name, options = symbols[row["root"]], {row["target"], row["neg_target"]}
        known = {b for a, b in edges if a == name}
        lines = derived(row)
        for i in range(len(lines)):
            for number, concept in enumerate(symbols):
                follows = concept not in known and any((a, concept) in edges for a in known)
                wanted = OVER if number in options else GOES_ON if follows else ILLEGAL
                step = text([*lines[:i], f"{name} is a {concept}."])
                assert task.world.observe(problem.prompt, step).status == wanted
            known.add(lines[i].split()[-1].rstrip("."))


@pytest.mark.parametrize("hops", [2, 3, 6, 12])
def test_problems_that_are_made_have_one_answer_and_a_path_of_that_many_hops(hops):
    settings = {"min_hops": hops, "max_hops": hops, "demonstrations": "gold"}
    task = load_task("prosqa", SIZES | settings)
    first = 0
    for problem in task.problems("train"):
        children, name, options = read(problem.prompt)
        far = distances(children, name)
        right, wrong = options if options[0] in far else options[::-1]
        assert wrong not in far and far[right] == hops
        assert not children[right] and not children[wrong]  # both are leaves, as in the files
        assert problem.answer == f"{name} is a {right}."
        proof = task.demonstration(problem, np.random.default_rng(0))
        assert task.verdict(problem, proof) and proof.count("\n") == hops - 1
        first += right == options[0]
    assert 15 < first < 45


def test_the_two_answers_are_below_one_name_each():
    """So the wrong one is as far from everything else as the right one."""
    for seed in range(50):
        graph = random_graph(np.random.default_rng(seed), 4)
        if graph is None:
            continue
        children = collections.defaultdict(set)
        for node, found in enumerate(graph.parents):
            for parent in found:
                children[parent].add(node)
        below = [set(distances(children, node)) for node in (0, 1)]
        assert graph.right in below[0] - below[1] and graph.wrong in below[1] - below[0]


def test_made_problems_look_like_the_published_ones(rows):
    """The same words, and about as many sentences."""
    pairs, _ = rows
    made = load_task("prosqa", SIZES | {"train_size": 300}).problems("train")
    words = lambda found: {word for p in found for word in p.prompt.split()}  # noqa: E731
    old = [problem for _, problem in pairs]
    assert words(made) <= words(old)
    sentences = lambda found: np.mean([p.prompt.count(".") for p in found])  # noqa: E731
    assert math.isclose(sentences(made), sentences(old), rel_tol=0.15)


def test_the_answer_may_be_the_last_fact_and_is_over_before_its_time():
    task = load_task("prosqa", SIZES)
    problem = task.parse(
        "Tom is a lempus. Every lempus is a impus. Every impus is a yerpus. Bob is a zumpus. "
        "Is Tom a zumpus or yerpus?"
    )
    see = lambda text: task.world.observe(problem.prompt, text)  # noqa: E731
    assert problem.answer == "Tom is a yerpus."
    assert see("Tom is a yerpus.\n") == see("Tom is a zumpus.\n") == ("", OVER)
    assert see("Tom is a impus.\n") == ("", GOES_ON)
    assert see("Tom is an impus.\n") == see("Bob is a yerpus.\n") == ("", ILLEGAL)
    assert task.verdict(problem, "Tom is a impus.\nTom is a yerpus.\n")
    assert not task.verdict(problem, "Tom is a yerpus.\n")  # it was not derived
    assert not task.verdict(problem, "Tom is a impus.\nTom is a zumpus.\n")
    assert task.is_legal(problem, "Tom is a impus.\nTom is a zumpus.\n")


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("Tom is a lempus. Is Tom a lempus?", "no question"),
        ("Tom is a lempus. Is Tom a yerpus or zumpus?", "no answer follows"),
        ("Tom is a lempus. Tom is a zumpus. Is Tom a lempus or zumpus?", "more than one answer"),
        ("Tom likes it. Is Tom a lempus or zumpus?", "'Tom likes it.' is neither"),
        ("Is Tom a lempus or zumpus?", "no question comes after"),
    ],
)
def test_what_is_no_problem(typed, reason):
    with pytest.raises(UserError, match=f"is not a problem: .*{reason}.*write it like") as error:
        load_task("prosqa").parse(typed)
    assert "\n" not in str(error.value)


def test_bad_records_are_named_by_file_and_line(tmp_path):
    question = "Tom is a lempus. Bob is a zumpus. Is Tom a zumpus or lempus?"
    file = tmp_path / "mine.jsonl"
    for changes, reason in (
        ({"answer": "Tom is a zumpus."}, "`answer` is not 'Tom is a lempus.'"),
        ({"question": "Is Tom a zumpus?"}, "no question"),
        ({"question": None}, "no text in `question`"),
    ):
        good = {"question": question, "answer": "Tom is a lempus."}
        file.write_text(f"{json.dumps(good)}\n{json.dumps(good | changes)}\n")
        with pytest.raises(UserError, match=f"mine.jsonl, line 2: .*{reason}"):
            load_task("prosqa").read(file)
    file.write_text(json.dumps(good))
    assert [problem.id for problem in load_task("prosqa").read(file)] == ["mine.jsonl:1"]
