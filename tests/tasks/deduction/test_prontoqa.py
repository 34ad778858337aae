"""PrOntoQA: published proofs, and problems that are made, read by a parser of their own."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.task import SPLITS
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER

SIZES = {"train_size": 60, "validation_size": 10, "test_size": 10}


def read(prompt):
    """The rules as edges, the fact and the statement; a property is (predicate, holds)."""

    def literal(words):
        holds = "not" not in words
        return words[-1].removesuffix("es"), holds

    context, question = prompt.strip().split("\n")
    *rules, fact = [s.strip(". ").split() for s in context.split(". ")]
    edges = collections.defaultdict(set)
    for words in rules:
        is_singular = words[0] in ("Each", "Every")
        noun = words[1] if is_singular else words[0].lower().removesuffix("es")
        edges[noun].add(literal(words))
    asked = question.partition("? ")[2].strip(".").split()
    assert fact[0] == asked[0]
    return edges, fact[-1], literal(asked)


def distances(edges, start):
    """How many rules lead from the concept `start` to each property."""
    found, waiting = {}, collections.deque([(start, 0)])
    while waiting:
        noun, far = waiting.popleft()
        for predicate, holds in edges[noun]:
            if (predicate, holds) not in found:
                found[predicate, holds] = far + 1
                if holds:
                    waiting.append((predicate, far + 1))
    return found


def explained(row):
    """The published proof in the form of a solution."""
    answer = {"A": "True", "B": "False"}[row["answer"]]
    return [*row["explanation"][2::2], answer]


@pytest.fixture(scope="module")
def rows(published):
    task = published("prontoqa", validation_size=10)
    path = Path(task.config.data_dir, "prontoqa_dev.json")
    return list(zip(json.loads(path.read_text()), task.problems("test"), strict=True)), task


def text(lines):
    return "".join(f"{line}\n" for line in lines)


def test_published_proofs_are_right_and_are_the_gold_demonstrations(rows, published):
    pairs, task = rows
    gold = published("prontoqa", validation_size=10, demonstrations="gold")
    for row, problem in pairs:
        lines = explained(row)
        assert task.verdict(problem, text(lines)) and len(lines) == 6
        assert gold.demonstration(problem, np.random.default_rng(0)) == text(lines)
        other = "True" if lines[-1] == "False" else "False"
        assert not task.verdict(problem, text([*lines[:-1], other]))


def test_published_proofs_with_one_step_altered_are_refused(rows):
    """Negated, with another subject or concept, left out or repeated."""
    pairs, task = rows
    for row, problem in pairs:
        lines = explained(row)
        for i, line in enumerate(lines[:-1]):
            negated = line.replace(" not", "") if "not" in line else line.replace("is", "is not")
            for altered in (negated, line.replace(line.split()[0], "Bob"), "Max is a dax."):
                changed = text([*lines[:i], altered])
                assert task.world.observe(problem.prompt, changed) == ("", ILLEGAL)
                rest = text(lines[i + 1 :])
                assert not task.verdict(problem, changed + rest)
            assert not task.verdict(problem, text([*lines[:i], *lines[i + 1 :]]))
            assert not task.verdict(problem, text([*lines[: i + 1], *lines[i:]]))


@pytest.mark.parametrize("hops", [1, 2, 5, 12])
def test_problems_that_are_made_have_one_answer_and_a_proof_of_that_many_hops(hops):
    settings = {"min_hops": hops, "max_hops": hops, "demonstrations": "gold"}
    task = load_task("prontoqa", SIZES | settings)
    answers = collections.Counter()
    for problem in task.problems("train"):
        edges, start, (predicate, holds) = read(problem.prompt)
        far = distances(edges, start)
        true, false = (predicate, holds), (predicate, not holds)
        assert (true in far) + (false in far) == 1
        assert problem.answer == str(true in far)
        assert far[true if true in far else false] == hops
        proof = task.demonstration(problem, np.random.default_rng(0))
        assert task.verdict(problem, proof) and proof.count("\n") == hops + 1
        answers[problem.answer] += 1
    assert min(answers.values()) > 15


def test_a_range_of_hops_is_covered_evenly():
    task = load_task("prontoqa", SIZES | {"min_hops": 2, "max_hops": 4, "train_size": 300})
    hops = collections.Counter()
    for problem in task.problems("train"):
        edges, start, (predicate, holds) = read(problem.prompt)
        far = distances(edges, start)
        hops[far.get((predicate, holds), far.get((predicate, not holds)))] += 1
    assert set(hops) == {2, 3, 4} and min(hops.values()) > 70


def test_made_problems_look_like_the_published_ones(rows):
    """As many sentences, and the same words."""
    pairs, task = rows
    made = load_task("prontoqa", SIZES | {"train_size": 300}).problems("train")
    words = lambda found: {word for p in found for word in p.prompt.split()}  # noqa: E731
    old = [problem for _, problem in pairs]
    assert words(made) == words(old)
    longest = max(problem.prompt.count(".") for problem in old)
    assert {problem.prompt.count(".") for problem in made} == {longest}


def test_the_world_lets_a_proof_go_on_and_any_answer_end_it():
    task = load_task("prontoqa", SIZES)
    typed = "Each yumpus is an impus. Impuses are not sour. Max is a yumpus. "
    problem = task.parse(f"{typed}Is the following statement true or false? Max is sour.")
    see = lambda text: task.world.observe(problem.prompt, text)  # noqa: E731
    assert see("Max is an impus.\n") == ("", GOES_ON)
    assert see("Max is not sour.\n") == ("", ILLEGAL)  # too early
    assert see("Max is an impus.\nMax is not sour.\n") == ("", GOES_ON)
    for wrong in ("Max is a impus.", "max is an impus.", "Max is a yumpus.", "", "Each", "true"):
        assert see(f"{wrong}\n") == ("", ILLEGAL)
    assert see("True\n") == see("False\n") == see("False") == ("", OVER)
    proof = "Max is an impus.\nMax is not sour.\n"
    assert task.verdict(problem, proof + "False\n") and task.verdict(problem, proof + "False")
    assert not task.verdict(problem, proof) and not task.verdict(problem, "False\n")
    assert not task.verdict(problem, proof + "True\n")
    assert task.is_legal(problem, proof + "True\n") and task.is_legal(problem, "False\n")
    assert not task.is_legal(problem, "Max is not sour.\nFalse\n")
    assert not task.is_legal(problem, proof)
    assert task.answer(problem.prompt, proof + "True\n") == "True"
    assert task.answer(problem.prompt, proof) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no question"),
        ("Max is a yumpus. Is Max sour?", "no question"),
        ("Yum. Is the following statement true or false? Max is sour.", "'Yum.' is neither"),
        (
            "Max is big. Is the following statement true or false? Max is sour.",
            "no answer follows from",
        ),
        (
            "Max is sour. Max is not sour. Is the following statement true or false? Max is sour.",
            "more than one answer follows",
        ),
        ("Max is big. Is the following statement true or false? Max is.", "no question"),
    ],
)
def test_what_is_no_problem(text, reason):
    with pytest.raises(UserError, match=f"is not a problem: .*{reason}.*write it like") as error:
        load_task("prontoqa").parse(text)
    assert "\n" not in str(error.value)


def record(**changes):
    context = "Each yumpus is sour. Max is a yumpus."
    question = "Is the following statement true or false? Max is sour."
    return {"id": "a", "context": context, "question": question, "answer": "A"} | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "B"}, "`answer` is not A"),
        ({"answer": None}, "`answer` is not A"),
        ({"context": ""}, "no text in `context`"),
        ({"question": "Why?"}, "no question"),
        ({"context": "Max yumpus."}, "neither a fact nor a rule"),
    ],
)
def test_bad_records_are_named_by_file_and_line(tmp_path, changes, reason):
    task = load_task("prontoqa")
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{json.dumps(record())}\n")
    assert [problem.id for problem in task.read(file)] == ["a"]
    file.write_text(f"{json.dumps(record())}\n{json.dumps(record(**changes))}\n")
    with pytest.raises(UserError, match=f"mine.jsonl, line 2: .*{reason}") as error:
        task.read(file)
    assert "\n" not in str(error.value)


def test_files_that_are_not_the_published_ones(tmp_path):
    settings = {"data_dir": str(tmp_path)} | SIZES
    with pytest.raises(UserError, match="holds no prontoqa_dev.json: get it from .*Logic-LLM"):
        load_task("prontoqa", settings).problems("train")
    (tmp_path / "prontoqa_dev.json").write_text(json.dumps([record()]))
    with pytest.raises(UserError, match="1 rows where the published file has 500"):
        load_task("prontoqa", settings).problems("train")
    task = load_task("prontoqa", settings | {"verify_files": False})
    assert [problem.id for problem in task.problems("test")] == ["a"]
    assert [len(task.problems(split)) for split in SPLITS] == [60, 10, 1]


def test_problems_with_a_published_theory_are_dropped_and_counted(tmp_path):
    made = [load_task("prontoqa", SIZES).problems(split) for split in SPLITS]
    rows = []
    for problem in made[0][:5]:
        context, question = problem.prompt.strip().split("\n")
        sentences = context.removesuffix(".").split(". ")
        context = ". ".join(sentences[::-1]) + "."  # another order
        answer = {"True": "A", "False": "B"}[problem.answer]
        rows.append(record(context=context, question=question, answer=answer))
    (tmp_path / "prontoqa_dev.json").write_text(json.dumps(rows))
    settings = {"data_dir": str(tmp_path), "verify_files": False}
    task = load_task("prontoqa", SIZES | settings)
    prompts = {problem.prompt for problem in task.problems("train")}
    assert task.dropped == 5 and len(prompts) == 60
    assert prompts >= {problem.prompt for problem in made[0][5:]}
    assert prompts.isdisjoint(problem.prompt for problem in made[0][:5])
