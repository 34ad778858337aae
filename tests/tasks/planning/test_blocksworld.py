import itertools
import json
from collections import Counter

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.sentencepiece_model import (
    SentencePieceTokenizer,
    TokenizerConfig,
)
from expert_iter.tasks import load_task
from expert_iter.tasks.planning import blocksworld
from expert_iter.tasks.planning.blocks import BLOCKS
from expert_iter.tasks.planning.blocksworld import BlocksworldConfig
from expert_iter.tasks.planning.generate import random_play, random_state
from expert_iter.tasks.planning.plan_length import plan_length
from expert_iter.tasks.task import SPLITS
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER
from tests.tasks.planning import instances, strips

SMALL = {"train_size": 300, "validation_size": 40, "test_size": 50}
PROMPT = "state a b | c goal c b\n"
RIGHT = "unstack b from a\nstate a | c holding b\nstack b on c\nstate a | c b"


@pytest.fixture(scope="module")
def task():
    return load_task("blocksworld", SMALL)


def prompts(task, split):
    return [problem.prompt for problem in task.problems(split)]


def split_prompt(problem):
    """The start's facts, the goal's facts, and the names of the blocks."""
    start, goal = problem.prompt.strip().split(" goal ")
    names = "".join(sorted(set(start.removeprefix("state ")) - {" ", "|"}))
    return strips.facts_of(start), strips.goal_of(goal), names


def transcript(task, problem, plan):
    """The text of a plan, by asking the world step by step; it is left out where it is illegal."""
    text = ""
    for move in plan:
        text += f"{move}\n"
        text += task.world.observe(problem.prompt, text).text
    return text


# Problems.


@pytest.mark.parametrize("count", [4, 6])
def test_problems_are_distinct_and_in_range(count):
    settings = {**SMALL, "blocks": count, "min_plan_length": 4, "max_plan_length": 8}
    task = load_task("blocksworld", settings)
    everything = [prompt for split in SPLITS for prompt in prompts(task, split)]
    assert len(set(everything)) == len(everything)
    lengths = set()
    for split in SPLITS:
        assert len(task.problems(split)) == SMALL[f"{split}_size"]
        for problem in task.problems(split)[:30]:
            facts, wanted, names = split_prompt(problem)
            assert names == BLOCKS[:count]
            plan = strips.shortest_plan(facts, wanted, names)
            lengths.add(len(plan))
            assert plan_length(*problem.answer) == len(plan)
    assert lengths == {4, 6, 8}


def renamed(problem, names):
    """The same problem with other names of its blocks, as sets of facts."""
    facts, wanted, own = split_prompt(problem)
    new = dict(zip(own, names, strict=True))

    def translated(found):
        return frozenset((fact[0], *(new[block] for block in fact[1:])) for fact in found)

    return translated(facts), translated(wanted)


def test_no_problem_is_held_out_and_trained_on_whatever_names_and_seed():
    trained, held_out = set(), []
    for seed in (0, 1):
        task = load_task("blocksworld", {**SMALL, "seed": seed})
        trained |= {renamed(problem, "abcd") for problem in task.problems("train")}
        held_out.append([*task.problems("validation"), *task.problems("test")])
    for problem in itertools.chain(*held_out):
        for names in itertools.permutations("abcd"):
            assert renamed(problem, names) not in trained


def test_problems_repeat_and_held_out_ones_stay_as_training_grows(task):
    assert prompts(load_task("blocksworld", SMALL), "train") == prompts(task, "train")
    longer = load_task("blocksworld", {**SMALL, "train_size": 600, "test_size": 60})
    assert prompts(longer, "validation") == prompts(task, "validation")
    assert prompts(longer, "test")[:50] == prompts(task, "test")
    other = load_task("blocksworld", {**SMALL, "seed": 1})
    assert prompts(other, "test") != prompts(task, "test")


def test_training_takes_what_there_is_but_held_out_problems_must_suffice(monkeypatch):
    monkeypatch.setattr(blocksworld, "_DRAWS", 1 << 12)
    # There are 13 · 12 pairs of a state and a goal of three blocks; in some the goal holds already.
    few = {"blocks": 3, "train_size": 1000, "validation_size": 5, "test_size": 5}
    assert 90 < len(load_task("blocksworld", few).problems("train")) < 13 * 12
    with pytest.raises(UserError, match=r"task.test_size=50, but there are only \d+: ask for"):
        load_task("blocksworld", {**few, "test_size": 50}).problems("train")


def test_every_state_is_drawn_as_often():
    rng = np.random.default_rng(0)
    counts = Counter(random_state(rng, 3) for _ in range(13 * 400))
    assert len(counts) == 13
    assert all(abs(n - 400) < 5 * np.sqrt(400) for n in counts.values())


def test_a_file_is_the_test_and_is_kept_out_of_training(task, tmp_path):
    trained = task.problems("train")[:100]

    def pddl(problem):
        facts, wanted, names = split_prompt(problem)
        on = " ".join(f"({' '.join(fact)})" for fact in facts if fact[0] == "on")
        return instances.pddl(names, on, " ".join(f"({' '.join(fact)})" for fact in wanted))

    records = [{"id": problem.id, "pddl": pddl(problem)} for problem in trained]
    file = instances.write(tmp_path / "a.jsonl", records)
    settings = {**SMALL, "test_size": 10_000, "problems_file": str(file)}
    with_file = load_task("blocksworld", settings)
    assert with_file.problems("test") == trained
    held_out = set(prompts(with_file, "test"))
    assert not held_out & {*prompts(with_file, "train"), *prompts(with_file, "validation")}
    assert prompts(with_file, "validation") == prompts(task, "validation")
    assert len(with_file.problems("train")) == 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("blocks", 2),
        ("blocks", 9),
        ("min_plan_length", 14),
        ("min_plan_length", 1),
        ("max_plan_length", 0),
        ("max_play_length", 0),
        ("train_size", 0),
        ("test_size", -1),
    ],
)
def test_impossible_settings(key, value):
    with pytest.raises(UserError, match=f"task.{key} must be between .*, got {value}$"):
        BlocksworldConfig(**{key: value})


# The world and the verdict.


def test_the_world_answers_every_action_as_strips_does(task):
    """From every state of three blocks: the right state, or illegal."""
    start = strips.facts_of("state a | b | c")
    nonsense = ["", "pick up", "pick up  a", "Pick up a", "pick up d", "state a | b | c", "42"]
    goal = strips.goal_of("a b c")
    statuses = Counter()
    for facts in strips.distances(start, "abc"):
        plan = strips.shortest_plan(start, facts, "abc")
        prefix = transcript(task, task.parse("state a | b | c goal a b c"), plan)
        if goal <= facts:
            continue  # over
        for action in [*strips.actions("abc"), *nonsense]:
            said = task.world.observe("state a | b | c goal a b c\n", f"{prefix}{action}\n")
            after = strips.successors(facts, "abc").get(action)
            statuses[said.status] += 1
            if after is None:
                assert said == ("", ILLEGAL)
            elif goal <= after:
                assert said == ("state a b c", OVER)
            else:
                assert said.status == GOES_ON and said.text.endswith("\n")
                assert strips.facts_of(said.text.strip()) == after
    assert min(statuses[status] for status in (GOES_ON, OVER, ILLEGAL)) > 0


@pytest.fixture(params=["made", "planbench_basic_3", "planbench_basic_first"])
def file(request, tmp_path):
    if request.param == "made":
        return instances.made(tmp_path)
    return instances.published(request.param)


def test_shortest_plans_are_right_and_altered_ones_as_strips_says(task, file):
    rng = np.random.default_rng(0)
    refused = accepted = 0
    for problem in task.read(file):
        facts, wanted, names = split_prompt(problem)
        plan = strips.shortest_plan(facts, wanted, names)
        text = transcript(task, problem, plan)
        assert task.verdict(problem, text) and task.is_legal(problem, text)
        assert task.answer(problem.prompt, text) == ", ".join(plan)
        every = list(strips.actions(names))
        for place in range(len(plan)):
            altered = [*plan]
            altered[place] = every[rng.integers(len(every))]
            right = strips.reaches(facts, wanted, altered, names)
            assert task.verdict(problem, transcript(task, problem, altered)) == right
            accepted, refused = accepted + right, refused + (not right)
        shorter, longer = plan[:-2], [*plan, f"pick up {names[0]}"]
        assert not task.verdict(problem, transcript(task, problem, shorter))
        assert not task.verdict(problem, transcript(task, problem, longer))
    assert refused > 0


def test_a_longer_plan_is_right_too(task):
    problem = task.parse(PROMPT)
    detour = ["unstack b from a", "put down b", "pick up b", "stack b on c"]
    assert task.verdict(problem, transcript(task, problem, detour))


@pytest.mark.parametrize(
    ("text", "legal", "right"),
    [
        (RIGHT, True, True),
        ("unstack b from a\nstate a | c holding b\n", True, False),
        (RIGHT + "\n", False, False),
        (RIGHT + "\npick up a\nstate c b holding a\n", False, False),  # after the goal
        (RIGHT.removesuffix("\nstate a | c b"), False, False),  # the last state is missing
        ("unstack b from a\nstack b on c\nstate a | c b", False, False),
        (RIGHT.replace("state a | c b", "state c b | a"), False, False),  # not canonical
        (RIGHT.replace("holding b", "holding c"), False, False),
        (RIGHT.replace("state a | c holding b", "state a | c b"), False, False),
        ("stack b on c\nstate a | c b", False, False),
        ("state a | c b", False, False),
        ("unstack b from a", False, False),
        ("unstack b from a\nstate a | c holding b", False, False),
        (" " + RIGHT, False, False),
        ("", False, False),
        ("\n", False, False),
        ("\n" * 10_000, False, False),
        ("pick up c\nstate a b holding c\nput down c\nstate a b | c\n" * 5000, True, False),
    ],
)
def test_verdicts(task, text, legal, right):
    problem = task.parse(PROMPT)
    assert task.verdict(problem, text) == right
    assert task.is_legal(problem, text) == legal
    assert (task.answer(PROMPT, text) is not None) == legal


def test_a_world_asked_behind_something_else_says_illegal(task):
    for text in ("pick up c\n\n", "unstack b from a\nput down b\n", "oops\npick up c\n"):
        assert task.world.observe(PROMPT, text) == ("", ILLEGAL)


# Demonstrations, and texts for people and tokenizers.


def test_demonstrations_hold_what_the_world_answers(task):
    rng = np.random.default_rng(0)
    lengths, solved = Counter(), 0
    for problem in itertools.islice(itertools.cycle(task.problems("train")), 600):
        text = rest = task.demonstration(problem, rng)
        done, status = "", GOES_ON
        moves = 0
        while rest:
            assert status == GOES_ON
            move, _, rest = rest.partition("\n")
            done += f"{move}\n"
            said, status = task.world.observe(problem.prompt, done)
            assert status != ILLEGAL and rest.startswith(said)
            done, rest, moves = done + said, rest.removeprefix(said), moves + 1
        assert done == text and task.is_legal(problem, text)
        assert task.verdict(problem, text) == (status == OVER)
        lengths[moves] += 1
        solved += status == OVER
    assert set(lengths) == set(range(1, 13))
    assert 0 < solved < 100


def test_random_play_is_even_over_legal_moves(task):
    problem = task.parse("state a b | c goal b a")
    rng = np.random.default_rng(0)
    firsts = Counter(random_play(problem.answer, rng, most=1).split("\n")[0] for _ in range(2000))
    assert set(firsts) == {"unstack b from a", "pick up c"}
    assert abs(firsts["pick up c"] - 1000) < 5 * np.sqrt(500)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no goal"),
        ("state a b | c", "there is no goal"),
        ("a b | c goal c b", "it does not begin with 'state'"),
        ("state a b | | c goal c b", "a tower has no block"),
        ("state a b | c goal ", "a tower has no block"),
        ("state a b | 1 goal a b", "'1' is not a block"),
        ("state ab | c goal c b", "'ab' is not a block"),
        ("state a b | a goal a b", "the block a is there twice"),
        ("state a b | c holding a goal c b", "'a' cannot be in the hand"),
        ("state a b | c holding d e goal c b", "'d e' cannot be in the hand"),
        ("state a b | c goal c d", "the start has no block d"),
        ("state a b | c goal c b | c a", "the block c is there twice"),
        ("state a b | c goal c", "a part of the goal is a single block"),
        ("state a b | c goal a b", "the goal holds at the start"),
    ],
)
def test_what_is_no_problem(task, text, reason):
    with pytest.raises(UserError, match=f"is not a problem: {reason}.*; write it like") as raised:
        task.parse(text)
    assert "\n" not in str(raised.value)


def test_the_example_can_be_typed(task):
    problem = task.problems("test")[0]
    typed = task.parse(task.example())
    assert (typed.prompt, typed.answer) == (problem.prompt, problem.answer)
    assert "\n" not in task.example()


def test_an_unknown_split(task):
    with pytest.raises(UserError, match="train, validation, test"):
        task.problems("dev")


def test_each_word_is_one_token(task):
    texts = task.sample_texts(50, seed=1)
    assert texts == task.sample_texts(50, seed=1) != task.sample_texts(50, seed=2)
    tokenizer = SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())
    hard = (
        "state o n | g s holding h goal o g | i h s\nunstack o from n\nstack s on h\nput down g\n"
    )
    for text in [*texts, hard]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        words = text.replace("pick up", "pick").replace("put down", "put").split()
        assert len(ids) == len(words) + text.count("\n")


def test_ids_of_a_file(task, tmp_path):
    first, second = (json.loads(line) for line in instances.made(tmp_path).open().readlines()[:2])
    del second["id"]
    file = instances.write(tmp_path / "a.jsonl", [first, second])
    assert [problem.id for problem in task.read(file)] == ["reversed.pddl", "a.jsonl:2"]


def test_hindsight_makes_the_goal_of_what_was_built(task):
    rng, made = np.random.default_rng(2), 0
    for problem in task.problems("train")[:200]:
        play = task.demonstration(problem, rng)
        relabelled = task.relabel(problem, play)
        if relabelled is None:
            continue
        made += 1
        other, plan = relabelled
        assert task.verdict(other, plan) and play.startswith(plan)
        assert other.prompt.partition(" goal ")[0] == problem.prompt.partition(" goal ")[0]
        assert task.parse(other.prompt).answer == other.answer
        *before, last = plan.split("\n")[1::2]
        assert task.world.observe(other.prompt, plan[: -len(last)]).status == OVER
        assert other.prompt not in prompts(task, "test") + prompts(task, "validation")
    assert made > 60
    assert task.relabel(problem, "stack a on a\nstate a b") is None
