import dataclasses
import json

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.room import Overlong, Room
from expert_iter.learn.step_tree import IMITATED, NOWHERE, OBSERVED
from expert_iter.learn.warm_start import (
    WarmStart,
    WarmStartConfig,
    path_tree,
    read_demonstrations,
)
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.tasks import Problem, load_task

PROMPT, SOLUTION = "3 5 7 -> 15\n", "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15"
GOOD = json.dumps({"prompt": PROMPT, "solution": SOLUTION})


@pytest.fixture(scope="module")
def task():
    settings = dict(largest=12, max_value=30, max_target=30, train_size=200)
    return load_task("countdown", settings | dict(validation_size=10, test_size=10))


@pytest.fixture(scope="module")
def tokenizer(task):
    texts = task.sample_texts(200, 0)
    return SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())


@pytest.fixture
def demonstrations(tmp_path):
    def write(*lines):
        path = tmp_path / "demonstrations.jsonl"
        path.write_bytes(b"\n".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        return str(path)

    return write


ROOM = Room(tokens=256, steps=48)


def by_line(tokenizer):
    return StepEnds(tokenizer, "line")


def warm_start(task, tokenizer, path="", room=ROOM, **settings):
    """From the file of demonstrations, or the task's training problems."""
    config, steps = WarmStartConfig(demonstrations=path), by_line(tokenizer)
    return WarmStart(task, tokenizer, steps, task.problems("train"), config, room, **settings)


def steps(tokenizer, tree):
    """The texts of a tree's steps, the prompt first."""
    ends = np.cumsum(tree.length)
    return [tokenizer.decode(tree.token[e - n : e]) for e, n in zip(ends, tree.length, strict=True)]


def test_a_demonstration_is_a_path_of_lines_that_are_all_learned(tokenizer):
    tree = path_tree(tokenizer, by_line(tokenizer), PROMPT, SOLUTION)
    assert steps(tokenizer, tree) == [PROMPT, "3 + 5 = 8 : 7 8\n", "7 + 8 = 15 : 15"]
    assert tree.token[0] == tokenizer.ids.bos and tree.token[-1] == tokenizer.ids.eos
    assert (tree.token == tokenizer.ids.eos).sum() == (tree.token == tokenizer.ids.bos).sum() == 1
    assert tree.parent.tolist() == [-1, 0, 1]
    assert set(tree.columns) == {IMITATED}, "a play says nothing about what a prefix is worth"
    assert tree.columns[IMITATED].tolist() == [0, 1, 1]
    assert tree.origin == NOWHERE


def test_random_plays_are_legal_and_mostly_no_solutions(task, tokenizer):
    problems = task.problems("train")
    by_prompt = {problem.prompt: problem for problem in problems}
    plays = warm_start(task, tokenizer)
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
    plays = warm_start(task, tokenizer)
    a, b, c = (plays.draw(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert texts_of(a) == texts_of(b) != texts_of(c)


def texts_of(drawn):
    return {number: tree.token.tolist() for number, tree in drawn.items()}


@pytest.mark.parametrize("kind", ["plays", "demonstrations"])
def test_several_processes_draw_what_one_would(task, tokenizer, demonstrations, as_processes, kind):
    other = json.dumps({"prompt": "1 2 3 -> 6\n", "solution": "1 + 2 = 3 : 3 3\n3 + 3 = 6 : 6"})
    path = demonstrations(GOOD, other) if kind == "demonstrations" else ""
    plays = warm_start(task, tokenizer, path)
    alone = texts_of(plays.draw(11, np.random.default_rng(3)))
    shares = as_processes(3, lambda: texts_of(plays.draw(11, np.random.default_rng(3))))
    assert [list(share) for share in shares] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert {number: text for share in shares for number, text in share.items()} == alone


def test_demonstrations_take_the_place_of_plays(task, tokenizer, demonstrations):
    other = {"prompt": "1 2 3 -> 6\n", "solution": "1 + 2 = 3 : 3 3\n3 + 3 = 6 : 6", "note": "ok"}
    path = demonstrations(GOOD, json.dumps(other))
    plays = warm_start(task, tokenizer, path)
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
def test_a_damaged_line_is_named_by_its_number(task, tokenizer, demonstrations, damaged):
    path = demonstrations(GOOD, GOOD, damaged, GOOD)
    with pytest.raises(UserError) as error:
        warm_start(task, tokenizer, path)
    message = str(error.value)
    assert path in message and "line 3" in message and "\n" not in message


def test_blank_lines_are_no_demonstrations(demonstrations):
    assert len(read_demonstrations(demonstrations(GOOD, "", GOOD, "", ""))) == 2


def test_a_missing_or_empty_file_is_said(demonstrations, tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl"):
        read_demonstrations(str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match=r"demonstrations\.jsonl"):
        read_demonstrations(demonstrations(""))
    with pytest.raises(UserError):
        read_demonstrations(str(tmp_path))


@pytest.mark.parametrize("beyond", ["tokens", "steps"])
def test_a_demonstration_that_fills_a_row_fits_and_a_longer_one_is_named_and_not_drawn(
    task, tokenizer, demonstrations, beyond
):
    short = json.dumps({"prompt": "1 2 -> 3\n", "solution": "1 + 2 = 3 : 3"})
    path = demonstrations(short, GOOD)
    whole = path_tree(tokenizer, by_line(tokenizer), PROMPT, SOLUTION)
    enough = Room(whole.size, len(whole.length))
    assert warm_start(task, tokenizer, path, enough).overlong == []
    less = dataclasses.replace(enough, **{beyond: getattr(enough, beyond) - 1})
    plays = warm_start(task, tokenizer, path, less)
    assert plays.overlong == [Overlong(f"{path}, line 2", whole.size, 3, in_prompt=False)]
    drawn = plays.draw(20, np.random.default_rng(0))
    assert {steps(tokenizer, tree)[0] for tree in drawn.values()} == {"1 2 -> 3\n"}
    assert list(drawn) == list(range(20))


@pytest.mark.parametrize("mode", ["line", "paragraph"])
@pytest.mark.parametrize("most_steps", [2, 3, 48])
def test_a_cut_demonstration_is_the_beginning_of_the_whole_one(
    task, tokenizer, demonstrations, mode, most_steps
):
    solution = SOLUTION.replace("\n", "\n\n") if mode == "paragraph" else SOLUTION
    path = demonstrations(json.dumps({"prompt": PROMPT, "solution": solution}))
    ends = StepEnds(tokenizer, mode)
    whole = path_tree(tokenizer, ends, PROMPT, solution)
    prompt = len(tokenizer.encode_prompt(PROMPT))
    for tokens in range(prompt - 1, whole.size + 2):
        room = Room(tokens, most_steps)
        problems, config = task.problems("train"), WarmStartConfig(demonstrations=path)
        plays = WarmStart(task, tokenizer, ends, problems, config, room, cut=True)
        if tokens <= prompt:
            assert [text.in_prompt for text in plays.overlong] == [True]
            assert plays.mean_size == 0 and plays.draw(5, np.random.default_rng(0)) == {}
            continue
        (tree,) = plays.draw(1, np.random.default_rng(0)).values()
        kept = min(tokens, whole.length[:most_steps].sum())
        assert tree.token.tolist() == whole.token[:kept].tolist()
        fits = kept == whole.size
        assert (plays.overlong == []) == fits == (tokenizer.ids.eos in tree.token)
        # All whole steps are as they were, and the last may be the beginning of one.
        assert (
            tree.length.sum() == kept
            and (tree.length[:-1] == whole.length[: len(tree.length) - 1]).all()
        )
        assert tree.parent.tolist() == list(range(-1, len(tree.length) - 1))
        assert set(tree.columns) == {IMITATED}
        assert tree.columns[IMITATED].tolist() == [0, *[1] * (len(tree.length) - 1)]


class Gambler:
    """Random play of one line or two, the second as likely as not."""

    def demonstration(self, problem, rng):
        return SOLUTION if rng.random() < 0.5 else SOLUTION.split("\n")[0]


@pytest.mark.parametrize("cut", [False, True])
def test_random_plays_that_turn_out_long_are_passed_over_or_cut(tokenizer, cut):
    problems = [Problem(f"train-{i}", PROMPT, None) for i in range(40)]
    steps, config = by_line(tokenizer), WarmStartConfig()
    short = path_tree(tokenizer, steps, PROMPT, SOLUTION.split("\n")[0])
    room = Room(short.size + 1, 48)
    plays = WarmStart(Gambler(), tokenizer, steps, problems, config, room, cut)
    assert 5 < len(plays.overlong) < 35
    assert {text.name for text in plays.overlong} < {f"problem train-{i}" for i in range(40)}
    drawn = plays.draw(200, np.random.default_rng(0))
    assert len(drawn) == 200 if cut else 60 < len(drawn) < 140
    sizes = {tree.size for tree in drawn.values()}
    assert sizes == ({short.size, room.tokens} if cut else {short.size})


def test_a_problem_that_came_without_a_solution_is_named_at_once(tokenizer, tmp_path):
    path = tmp_path / "mine.jsonl"
    records = [{"question": "Which?", "answer": ["assert f()"], "solution": "f"}] * 30
    records[20] = {"question": "Which?", "answer": ["assert f()"]}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    task = load_task("jsonl", {"train_file": str(path), "answer_type": "code"})
    steps, problems, config = by_line(tokenizer), task.read(path), WarmStartConfig()
    with pytest.raises(UserError, match=r"mine\.jsonl, line 21 has no solution to learn from"):
        WarmStart(task, AnyText(), steps, problems, config, ROOM)


class AnyText:
    """A token a character."""

    ids = TokenIds(pad=0, bos=1, eos=2, newline=10)

    def encode_prompt(self, text):
        return [self.ids.bos, *self.encode(text)]

    def encode(self, text):
        return list(map(ord, text))


def test_updates_must_not_be_negative():
    assert WarmStartConfig(updates=0).updates == 0
    with pytest.raises(UserError, match=r"warm_start\.updates"):
        WarmStartConfig(updates=-1)


def test_a_play_in_a_world_learns_the_moves_alone(tokenizer):
    task = load_task("countdown", dict(rules="world", train_size=30, max_value=100))
    ends = StepEnds(tokenizer, "line", 0, task.world.marks)
    tree = path_tree(tokenizer, ends, PROMPT, SOLUTION, task.world)
    moves, answers = ["3 + 5 = ", "7 + 8 = "], ["8 : 7 8\n", "15 : 15"]
    written = [len(tokenizer.encode(move)) for move in moves]
    heard = [len(tokenizer.encode(answer)) for answer in answers]
    assert tree.columns[OBSERVED].tolist() == [0, *heard]
    assert tree.length[1:].tolist() == np.add(written, heard).tolist()
    assert tree.columns[IMITATED].tolist() == [0, 1, 1]
    assert tree.teaching.tolist() == [False, True, True]
    silent = tree.with_columns({IMITATED: np.zeros(3)})
    assert not silent.teaches, "what a world says is no lesson"
    with pytest.raises(UserError, match="is not what the task's world answers"):
        path_tree(tokenizer, ends, PROMPT, SOLUTION.replace("15 : 15", "16 : 16"), task.world)


def test_hindsight_shows_plays_with_the_problems_that_they_solve(task, tokenizer):
    def prompts_and_texts(**settings):
        plays = WarmStart(
            task,
            tokenizer,
            by_line(tokenizer),
            task.problems("train"),
            WarmStartConfig(value_targets=True, **settings),
            ROOM,
        )
        drawn = plays.draw(300, np.random.default_rng(5)).values()
        return [(*steps(tokenizer, tree), tree) for tree in drawn]

    def solved(text):
        prompt, *lines = text
        problem = task.parse(prompt.strip())
        return task.verdict(problem, "".join(lines))

    shares = {}
    for hindsight in (0.0, 0.5, 1.0):
        drawn = prompts_and_texts(hindsight=hindsight)
        right = [solved(text) for *text, _ in drawn]
        shares[hindsight] = np.mean(right)
        for won, (*_, tree) in zip(right, drawn, strict=True):
            assert tree.columns["value.target"].tolist() == [float(won)] * len(tree.length)
            assert (tree.columns["value.weight"] == 1).all()
    # Some plays come to no number that may be a target.
    assert shares[0.0] < 0.2 < shares[0.5] - 0.15 < 0.8 < shares[1.0]
    assert shares[1.0] < 1


def test_hindsight_is_refused_where_nothing_can_tell(demonstrations, tokenizer):
    with pytest.raises(UserError, match="hindsight.*demonstrations"):
        WarmStartConfig(demonstrations="some.jsonl", hindsight=0.5)

    class Mute:
        """Cannot relabel."""

    with pytest.raises(UserError, match=r"warm_start\.hindsight: this task cannot tell"):
        WarmStart(Mute(), tokenizer, by_line(tokenizer), [], WarmStartConfig(hindsight=1.0), ROOM)
