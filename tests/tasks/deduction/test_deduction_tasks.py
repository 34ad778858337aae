"""What holds for every deduction task."""

import re

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.sentencepiece_model import (
    SentencePieceTokenizer,
    TokenizerConfig,
)
from expert_iter.tasks import load_task
from expert_iter.tasks.deduction.deduction_task import DeductionConfig
from expert_iter.tasks.deduction.prontoqa import Prontoqa
from expert_iter.tasks.task import SPLITS
from expert_iter.tasks.world import GOES_ON, OVER

NAMES = ["prontoqa", "prosqa", "proofwriter"]
SIZES = {"train_size": 80, "validation_size": 20, "test_size": 20}


@pytest.fixture(scope="module", params=NAMES)
def task(request):
    return load_task(request.param, SIZES)


@pytest.fixture(scope="module")
def gold(task):
    return load_task(task.name, SIZES | {"demonstrations": "gold"})


def replay(task, prompt, text):
    """The observations of the steps of a text, one a line."""
    lines = text.splitlines(keepends=True)
    return [task.world.observe(prompt, "".join(lines[: i + 1])) for i in range(len(lines))]


def test_demonstrations_hold_what_the_world_observes(task, gold):
    rng = np.random.default_rng(0)
    for problem in task.problems("train"):
        for made in (task, gold):
            text = made.demonstration(problem, rng)
            *before, last = replay(task, problem.prompt, text)
            assert text.endswith("\n") and last == ("", OVER)
            assert all(seen == ("", GOES_ON) for seen in before)


def test_play_is_legal_and_rarely_a_proof_and_gold_always_is(task, gold):
    rng = np.random.default_rng(0)
    proved = []
    for problem in task.problems("train"):
        play = task.demonstration(problem, rng)
        assert task.is_legal(problem, play)
        assert task.answer(problem.prompt, play) == play.splitlines()[-1]
        proved.append(task.verdict(problem, play))
        proof = gold.demonstration(problem, rng)
        assert task.verdict(problem, proof) and task.answer(problem.prompt, proof) == problem.answer
    assert 0 < np.mean(proved) < 0.5


def test_any_answer_ends_a_text_and_only_the_proved_one_is_right(task, gold):
    for problem in task.problems("train"):
        *steps, _ = gold.demonstration(problem, None).splitlines(keepends=True)
        for answer in task.language.puzzle(problem.prompt).answers:
            text = f"{''.join(steps)}{answer}\n"
            assert task.world.observe(problem.prompt, text) == ("", OVER)
            assert task.is_legal(problem, text)
            assert task.verdict(problem, text) == (answer == problem.answer)
            assert task.world.observe(problem.prompt, f"{answer}\n") == ("", OVER)
            if len(steps) > 1:
                assert not task.verdict(problem, f"{answer}\n")


def other_question(task, prompt):
    """The statement negated, or the options in the other order."""
    context, question = prompt.strip().split("\n")
    if " or " in question and task.name == "prosqa":
        words = question.split()
        words[3], words[5] = words[5].strip("?"), words[3] + "?"
        return f"{context}\n{' '.join(words)}\n"
    start, _, statement = question.partition("? ")
    subject, verb, rest = re.fullmatch(r"(.*) (is|does|\w+s) (.*)", statement).groups()
    if verb not in ("is", "does"):
        return f"{context}\n{start}? {subject} does not {verb[:-1]} {rest}\n"
    if rest.startswith("not "):
        rest = rest.removeprefix("not ")
        verb = "is" if verb == "is" else ""
        rest = rest if verb else rest.replace(" ", "s ", 1)
        return f"{context}\n{start}? {' '.join(f'{subject} {verb} {rest}'.split())}\n"
    return f"{context}\n{start}? {subject} {verb} not {rest}\n"


def test_observations_do_not_depend_on_the_question(task):
    """The same steps, legal and illegal ones, get the same answers where the opposite is asked."""
    rng = np.random.default_rng(0)
    statuses = set()
    for problem in task.problems("train"):
        other = other_question(task, problem.prompt)
        assert other != problem.prompt and task.parse(other)
        lines = task.demonstration(problem, rng).splitlines(keepends=True)
        texts = ["".join(lines[: i + 1]) for i in range(len(lines))]
        texts += [text + lines[-2] for text in texts[:-1]]  # repeats, or comes before its time
        for text in texts:
            seen = task.world.observe(problem.prompt, text)
            assert seen == task.world.observe(other, text)
            statuses.add(seen.status)
    assert len(statuses) == 3


def test_nothing_may_follow_the_answer(task, gold):
    for problem in task.problems("train"):
        text = gold.demonstration(problem, None)
        for more in (text.splitlines()[-1] + "\n", "\n", " "):
            assert not task.verdict(problem, text + more)
            assert not task.is_legal(problem, text + more)


def test_splits_share_no_theory_whatever_the_seed(task):
    other = load_task(task.name, SIZES | {"seed": 1})
    again = load_task(task.name, SIZES)
    theory = lambda problem: task.language.puzzle(problem.prompt).theory.key  # noqa: E731
    found = {split: set() for split in SPLITS}
    for split in SPLITS:
        assert len(task.problems(split)) == SIZES[f"{split}_size"]
        assert task.problems(split) == again.problems(split) != other.problems(split)
        for made in (task, other):
            theories = [theory(problem) for problem in made.problems(split)]
            assert len(set(theories)) == len(theories)
            found[split].update(theories)
    assert len(set.union(*found.values())) == sum(map(len, found.values()))
    with pytest.raises(UserError, match="train, validation, test"):
        task.problems("dev")


class FewTheories(Prontoqa):
    """Only 200 theories, of which true and false statements are asked."""

    def draw(self, rng, hops):
        text = super().draw(np.random.default_rng(rng.integers(200)), hops)
        subject, is_, *rest = text.rpartition("? ")[2].split()
        negated = rest[1:] if rest[0] == "not" else ["not", *rest]
        statement = " ".join([subject, is_, *(negated if rng.integers(2) else rest)])
        return f"{text.rpartition('? ')[0]}? {statement}"


def test_a_theory_is_in_one_split_whatever_is_asked_of_it():
    """Seeds draw the same theories here, in other orders and with other statements."""
    split_of, prompts = {}, set()
    for seed in range(4):
        sizes = {"train_size": 60, "validation_size": 4, "test_size": 8}
        task = FewTheories(DeductionConfig(seed=seed, **sizes))
        for split in SPLITS:
            theories = [task.language.puzzle(p.prompt).theory.key for p in task.problems(split)]
            assert len(set(theories)) == len(theories) == sizes[f"{split}_size"]
            assert all(split_of.setdefault(theory, split) == split for theory in theories)
            prompts |= {problem.prompt for problem in task.problems(split)}
    assert len(prompts) > len(split_of) + 20 and len(split_of) > 72


def test_held_out_problems_stay_as_training_grows(task):
    more = load_task(task.name, SIZES | {"train_size": 120})
    assert more.problems("test") == task.problems("test")
    assert more.problems("train")[:80] == task.problems("train")


def test_the_example_and_prompts_can_be_typed(task):
    first = task.problems("test")[0]
    assert "\n" not in task.example()
    for typed in (task.example(), first.prompt, f"  {first.prompt}\n"):
        problem = task.parse(typed)
        assert (problem.prompt, problem.answer) == (first.prompt, first.answer)
    assert task.parse(task.language.example).answer


def test_a_step_is_a_few_tokens_and_every_text_can_be_written(task):
    texts = task.sample_texts(40, seed=0)
    assert texts == task.sample_texts(40, seed=0) != task.sample_texts(40, seed=1)
    tokenizer = SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())
    rng = np.random.default_rng(0)
    for problem in task.problems("test"):
        text = task.demonstration(problem, rng)
        assert tokenizer.decode(tokenizer.encode(problem.prompt + text)) == problem.prompt + text
        for line in text.splitlines(keepends=True):
            assert len(tokenizer.encode(line)) <= 6
        assert len(tokenizer.encode(problem.prompt)) < 1.3 * len(problem.prompt.split())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("min_hops", 13), ("min_hops", -1), ("max_hops", 1), ("seed", -1), ("test_size", 0)],
)
def test_impossible_settings(setting, value):
    for name in NAMES:
        with pytest.raises(UserError, match=f"task.{setting} must be between .*, got {value}$"):
            load_task(name, {"min_hops": 5} | {setting: value})
    with pytest.raises(UserError, match="task.demonstrations must be 'play' or 'gold'"):
        load_task(NAMES[0], {"demonstrations": "plays"})
