import json

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.warm_start import (
    WarmStart,
    WarmStartConfig,
    path_tree,
    read_demonstrations,
)
from expert_iter.model.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.model.step_ends import StepEnds
from expert_iter.tasks import load_task

PROMPT, SOLUTION = "3 5 7 -> 15\n", "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15"
GOOD = json.dumps({"prompt": PROMPT, "solution": SOLUTION})


@pytest.fixture(scope="module")
def task():
    settings = dict(largest=12, max_value=30, max_target=30, train_size=200)
    return load_task("countdown", settings | dict(validation_size=10, test_size=10))


@pytest.fixture(scope="module")
def tokenizer(task, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return SentencePieceTokenizer.train(
        task.sample_texts(200, 0), task.symbols(), TokenizerConfig(), path
    )


@pytest.fixture
def demonstrations(tmp_path):
    def write(*lines):
        path = tmp_path / "demonstrations.jsonl"
        path.write_bytes(b"\n".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        return str(path)

    return write


def by_line(tokenizer):
    return StepEnds(tokenizer, "line")


def steps(tokenizer, tree):
    """The texts of a tree's steps, the prompt first."""
    ends = np.cumsum(tree.length)
    return [tokenizer.decode(tree.token[e - n : e]) for e, n in zip(ends, tree.length, strict=True)]


def test_a_demonstration_is_a_path_of_lines_that_are_all_learned(tokenizer):
    tree = path_tree(tokenizer, by_line(tokenizer), PROMPT, SOLUTION)
    assert steps(tokenizer, tree) == [PROMPT, "3 + 5 = 8 : 7 8\n", "7 + 8 = 15 : 15"]
    assert tree.token[0] == tokenizer.bos_id and tree.token[-1] == tokenizer.eos_id
    assert (tree.token == tokenizer.eos_id).sum() == (tree.token == tokenizer.bos_id).sum() == 1
    assert tree.parent.tolist() == [-1, 0, 1]
    assert tree.policy_weight.tolist() == [0, 1, 1]
    assert not tree.value_weight.any(), "a play says nothing about what a prefix is worth"
    assert not tree.in_set.any()


def test_random_plays_are_legal_and_mostly_no_solutions(task, tokenizer):
    problems = task.problems("train")
    by_prompt = {problem.prompt: problem for problem in problems}
    plays = WarmStart(task, tokenizer, by_line(tokenizer), problems, WarmStartConfig())
    drawn = plays.draw(200, np.random.default_rng(0))
    assert list(drawn) == list(range(200))
    trees = list(drawn.values())
    right = 0
    for tree in trees:
        prompt, *lines = steps(tokenizer, tree)
        problem, solution = by_prompt[prompt], "".join(lines)
        assert task.is_legal(problem, solution)
        right += task.verdict(problem, solution)
    assert right < 40, "rules and format, no solutions"
    assert len({tuple(tree.token) for tree in trees}) > 150
    assert abs(plays.mean_size - np.mean([tree.size for tree in trees])) < 2


def test_plays_are_a_function_of_the_random_generator(task, tokenizer):
    steps, problems = by_line(tokenizer), task.problems("train")
    plays = WarmStart(task, tokenizer, steps, problems, WarmStartConfig())
    a, b, c = (plays.draw(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert texts_of(a) == texts_of(b) != texts_of(c)


def texts_of(drawn):
    return {number: tree.token.tolist() for number, tree in drawn.items()}


@pytest.mark.parametrize("kind", ["plays", "demonstrations"])
def test_several_processes_draw_what_one_would(task, tokenizer, demonstrations, as_processes, kind):
    other = json.dumps({"prompt": "1 2 3 -> 6\n", "solution": "1 + 2 = 3 : 3 3\n3 + 3 = 6 : 6"})
    path = demonstrations(GOOD, other) if kind == "demonstrations" else ""
    config, problems = WarmStartConfig(demonstrations=path), task.problems("train")
    plays = WarmStart(task, tokenizer, by_line(tokenizer), problems, config)
    alone = texts_of(plays.draw(11, np.random.default_rng(3)))
    shares = as_processes(3, lambda: texts_of(plays.draw(11, np.random.default_rng(3))))
    assert [list(share) for share in shares] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert {number: text for share in shares for number, text in share.items()} == alone


def test_demonstrations_take_the_place_of_plays(task, tokenizer, demonstrations):
    other = {"prompt": "1 2 3 -> 6\n", "solution": "1 + 2 = 3 : 3 3\n3 + 3 = 6 : 6", "note": "ok"}
    path = demonstrations(GOOD, json.dumps(other))
    plays = WarmStart(
        task,
        tokenizer,
        by_line(tokenizer),
        task.problems("train"),
        WarmStartConfig(demonstrations=path),
    )
    drawn = plays.draw(30, np.random.default_rng(0)).values()
    found = {"".join(steps(tokenizer, tree)) for tree in drawn}
    assert found == {PROMPT + SOLUTION, other["prompt"] + other["solution"]}


@pytest.mark.parametrize(
    "damaged",
    [
        '{"prompt": "3 5 7 -> 15\\n", "solut',
        '{"prompt": "3 5 7 -> 15\\n"}',
        '["3 5 7 -> 15", "3 + 5"]',
        "null",
        '{"prompt": "3 5 7 -> 15\\n", "solution": 15}',
        '{"prompt": ["3", "5"], "solution": "3 + 5"}',
        '{"prompt": "3 5 7 → 15\\n", "solution": "3 + 5"}',  # nothing can write an arrow
        b'{"prompt": "\xff", "solution": "3"}',
    ],
)
def test_a_damaged_line_is_named_by_its_number(tokenizer, demonstrations, damaged):
    path = demonstrations(GOOD, GOOD, damaged, GOOD)
    with pytest.raises(UserError) as error:
        read_demonstrations(path, tokenizer, by_line(tokenizer))
    message = str(error.value)
    assert path in message and "line 3" in message and "\n" not in message


def test_blank_lines_are_no_demonstrations(tokenizer, demonstrations):
    path = demonstrations(GOOD, "", GOOD, "", "")
    assert len(read_demonstrations(path, tokenizer, by_line(tokenizer))) == 2


def test_a_missing_or_empty_file_is_said(tokenizer, demonstrations, tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl"):
        read_demonstrations(str(tmp_path / "none.jsonl"), tokenizer, by_line(tokenizer))
    with pytest.raises(UserError, match=r"demonstrations\.jsonl"):
        read_demonstrations(demonstrations(""), tokenizer, by_line(tokenizer))
    with pytest.raises(UserError):
        read_demonstrations(str(tmp_path), tokenizer, by_line(tokenizer))


def test_updates_must_not_be_negative():
    assert WarmStartConfig(updates=0).updates == 0
    with pytest.raises(UserError, match=r"warm_start\.updates"):
        WarmStartConfig(updates=-1)
