"""Self-play: the trees carry verdicts on what finished, and those of the right problems."""

import dataclasses
from concurrent.futures import Future
from types import SimpleNamespace
from zlib import crc32

import jax
import numpy as np
import pytest

from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.learn.replay import Replay
from expert_iter.measure.report.show import tree_of
from expert_iter.measure.search_figures import search_facts, search_means, search_sums
from expert_iter.search.candidates import Candidates
from expert_iter.search.self_play import GuessAndCheck, SelfPlay
from expert_iter.search.tree import SearchTree
from expert_iter.tasks import Problem
from expert_iter.tasks.verifier.pool import Verifier


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The parts of a run, and the parameters of a network that knows what a solution looks like."""
    config = default_config("countdown")
    config.update_from_flattened_dict(
        {
            "mesh.data": 1,
            "task.train_size": 64,
            "task.validation_size": 4,
            "task.test_size": 4,
            "task.largest": 6,
            "task.max_value": 12,
            "task.max_target": 12,
            "model.width": 32,
            "model.num_layers": 1,
            "warm_start.updates": 40,
            "learner.rows": 8,
            "run.batch_size": 16,
            "search.num_candidates": 4,
            "search.num_simulations": 4,
            "guess.num_samples": 8,
        }
    )
    parts = assemble(settings(config), tmp_path_factory.mktemp("play"))
    problems = parts.task.problems("train")
    learner, plays = parts.learner(), parts.plays(problems)
    state, nothing = learner.init(parts.initial_params()), Replay(parts.settings.replay)
    batches = learner.batches(nothing, plays, 40, np.random.default_rng)
    for update in range(40):
        state, _ = learner.update(state, batches.make(update))
    return parts, state.params


@pytest.fixture(scope="module", params=["mcts", "guess"])
def played(request, taught):
    parts, params = taught
    s = parts.settings
    changed = dataclasses.replace(s, run=dataclasses.replace(s.run, expert=request.param))
    parts = dataclasses.replace(parts, settings=changed)
    problems = parts.task.problems("train")[:16]
    return parts, next(parts.expert().searches(params, [(problems, jax.random.key(1))]))


def texts(parts, tree, b):
    """Every finished candidate with its whole text, walked up from scratch."""
    for node, k in np.argwhere(tree.candidates.finished[b] & tree.candidates.valid[b]):
        steps, at = [tree.candidates.token[b, node, k, : tree.candidates.length[b, node, k]]], node
        while at > 0:
            parent, action = tree.parent[b, at], tree.action[b, at]
            steps.insert(
                0,
                tree.candidates.token[
                    b, parent, action, : tree.candidates.length[b, parent, action]
                ],
            )
            at = parent
        yield (node, k), parts.tokenizer.decode(np.concatenate(steps))


def test_verdicts_are_the_tasks_own(played):
    parts, found = played
    rows, problems, tree = found.rows, found.problems, found.trees
    checked = 0
    assert rows.tolist() == list(range(16))
    for b, problem in enumerate(problems):
        for at, text in texts(parts, tree, b):
            assert tree.won[b][tuple(at)] == parts.task.verdict(problem, text), text
            checked += 1
    assert checked > 16
    assert not (tree.won & ~tree.candidates.finished).any()


def test_figures_count_what_is_there(played):
    _, found = played
    problems, tree = found.problems, found.trees
    facts = search_facts(tree)
    means, sums = search_means(facts), search_sums(facts)
    assert means["solved"] == np.mean([tree.won[b].any() for b in range(len(problems))])
    assert means["nodes"] == sum(int(row.sum()) for row in tree.live) / len(problems)
    assert 0 < means["utilisation"] <= 1
    assert sums["problems"] == 16
    drawn = (tree.candidates.count * tree.candidates.length * tree.live[..., None]).sum()
    assert sums["tokens"] == pytest.approx(drawn)


def test_figures_of_parts_are_those_of_the_whole(played):
    """Processes that have a part of the trees each put their facts one after the other."""
    tree = played[1].trees
    whole = search_facts(tree)
    parts = [
        search_facts(jax.tree.map(lambda x, p=p: x[p], tree)) for p in np.arange(16).reshape(4, -1)
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    assert search_sums(joined) == search_sums(whole)
    np.testing.assert_equal(search_means(joined), search_means(whole))  # of which one may be nan


def test_lessons_hold_the_winning_steps(played):
    parts, searched = played
    by_row, lost = parts.distil(searched, [np.random.default_rng(row) for row in range(16)])
    assert list(by_row) == list(range(16)) and lost == 0
    for row, lessons in by_row.items():
        assert all(lesson.teaches for lesson in lessons)
        weight = sum(lesson.columns["improved.weight"].sum() for lesson in lessons)
        assert (weight > 0) == bool(searched.trees.won[row].any())


def test_lessons_go_by_the_place_in_the_batch(played):
    """A process that has only some of the problems keeps what one that has all keeps of them."""
    parts, searched = played
    rngs = lambda rows: [np.random.default_rng(row) for row in rows]  # noqa: E731
    whole, _ = parts.distil(searched, rngs(range(16)))
    some = [2, 3, 11]
    part = searched._replace(
        rows=searched.rows[some],
        problems=[searched.problems[row] for row in some],
        trees=jax.tree.map(lambda x: x[some], searched.trees),
    )
    tokens = lambda lessons: [lesson.token.tolist() for lesson in lessons]  # noqa: E731
    own, _ = parts.distil(part, rngs(some))
    assert {row: tokens(x) for row, x in own.items()} == {row: tokens(whole[row]) for row in some}
    none = jax.tree.map(lambda x: x[:0], searched.trees)
    assert parts.distil(searched._replace(rows=searched.rows[:0], problems=[], trees=none), []) == (
        {},
        0,
    )


def test_steps_that_no_row_has_room_for_are_counted_and_left_out(played):
    parts, searched = played
    rngs = lambda: [np.random.default_rng(row) for row in range(16)]  # noqa: E731
    whole, _ = parts.distil(searched, rngs())
    s, prompt = parts.settings, len(parts.tokenizer.encode_prompt(searched.problems[0].prompt))
    narrow = dataclasses.replace(s, learner=dataclasses.replace(s.learner, row_tokens=prompt + 4))
    kept, lost = dataclasses.replace(parts, settings=narrow).distil(searched, rngs())

    def teaching(by_row):
        trees = [tree for trees in by_row.values() for tree in trees]
        weights = [(t.columns["improved.weight"], t.columns["value.weight"]) for t in trees]
        return sum(((policy > 0) | (value > 0)).sum() for policy, value in weights)

    assert all(tree.size <= prompt + 4 for trees in kept.values() for tree in trees)
    assert 0 < teaching(kept) and 0 < lost == teaching(whole) - teaching(kept)


def test_the_drawn_tree_has_every_candidate_once(played):
    parts, found = played
    problems, tree = found.problems, found.trees
    root = tree_of(tree, None, parts.tokenizer, problems[0].prompt)

    def count(node):
        return len(node.children) + sum(map(count, node.children))

    assert root.text == problems[0].prompt.strip()
    assert count(root) == int((tree.candidates.valid[0] & tree.live[0][:, None]).sum())


class Chance(Verifier):
    """A third of the texts are right, others for each problem."""

    def submit(self, problems, texts):
        pairs = zip(problems, texts, strict=True)
        verdicts = Future()
        verdicts.set_result([crc32(f"{p.id} {text}".encode()) % 3 == 0 for p, text in pairs])
        return verdicts


def test_trees_do_not_depend_on_the_batches_in_flight(taught):
    """Of batches of several sizes, whose searches end at different nodes, in the order given."""
    parts, params = taught
    problems, keys = parts.task.problems("train"), jax.random.split(jax.random.key(2), 5)
    ends = [0, 16, 17, 33, 40, 42]
    batches = [(problems[a:b], key) for a, b, key in zip(ends, ends[1:], keys, strict=False)]
    s = parts.settings

    def found(in_flight):
        run = dataclasses.replace(s.run, batches_in_flight=in_flight)
        search = dataclasses.replace(s.search, stop_when_solved=True)
        changed = dataclasses.replace(s, run=run, search=search)
        expert = dataclasses.replace(parts, settings=changed).expert()
        expert._verifier.verifier = Chance()
        return list(expert.searches(params, batches))

    alone = found(1)
    assert [searched.problems for searched in alone] == [list(batch) for batch, _ in batches]
    nodes = [int(searched.trees.live.sum(axis=1).max()) for searched in alone]
    assert len(set(nodes)) > 1 and all(searched.trees.won.any() for searched in alone)
    for searched in map(found, (2, 3)):
        for one, other in zip(searched, alone, strict=True):
            assert one.problems == other.problems
            jax.tree.map(np.testing.assert_array_equal, one.trees, other.trees)


class Turns:
    """A player whose searches have so many nodes as their problem's answer says, and the verifier;
    both write down what they did.
    """

    expert = SimpleNamespace(most=3)
    gathered = staticmethod(lambda params: params)

    def __init__(self, fails=""):
        self.events, self.fails = [], fails

    def play_in_parts(self, params, questions, key, budget, ask):
        [question] = questions
        for _ in range(int(question.prompt)):
            self.events.append(f"draw {question.id}")
            yield
            verdicts = ask(None, None)
            yield
            verdicts()
        return np.arange(1), f"tree {question.id}"

    def ask(self, problems, number_B, texts):
        [problem] = problems
        self.events.append(f"ask {problem.id}")
        return lambda: self.wait(problem.id)

    def wait(self, id):
        self.events.append(f"wait {id}")
        if id == self.fails:
            raise UserError("no verifier can start")


def turns(nodes, in_flight, **options):
    log = Turns(**options)
    batches = [([Problem(str(i), str(n), "")], None) for i, n in enumerate(nodes)]
    return log.events, SelfPlay(log, log, in_flight).searches(None, batches)


def test_a_batch_is_drawn_while_verdicts_on_another_are_given():
    events, searches = turns([2, 2], in_flight=2)
    assert [found.trees for found in searches] == ["tree 0", "tree 1"]
    node = ["ask 0", "ask 1", "wait 0", "draw 0", "wait 1", "draw 1"]
    assert events == ["draw 0", "draw 1", *node, *node[:3], "wait 1"]


def test_one_in_flight_is_searched_alone():
    events, searches = turns([1, 1], in_flight=1)
    next(searches)
    assert events == ["draw 0", "ask 0", "wait 0"]
    next(searches)
    assert events[3:] == ["draw 1", "ask 1", "wait 1"]


def test_a_batch_that_ends_first_waits_for_those_before_it():
    """So no more than are wanted are in flight."""
    events, searches = turns([3, 1, 1], in_flight=2)
    assert next(searches).trees == "tree 0"
    assert events.count("draw 0") == 3 and events.count("wait 1") == 1 and "draw 2" not in events
    assert [found.trees for found in searches] == ["tree 1", "tree 2"]


def test_what_goes_wrong_in_one_batch_is_raised():
    events, searches = turns([2, 2, 2], in_flight=2, fails="1")
    with pytest.raises(UserError, match="no verifier can start"):
        list(searches)
    assert events[-1] == "wait 1"


class Log:
    """A network's stand-in that writes numbers, and the verifier; both write down what they did."""

    batch_size, ids, in_parts = 2, None, False

    def __init__(self):
        self.events = []

    tokenizer = SimpleNamespace(decode_all=lambda texts: list(map(str, texts)))
    gathered = staticmethod(lambda params: params)
    expert = SimpleNamespace(most=3)

    def play_own(self, params, questions, key, budget):
        self.events.append(f"draw {questions[0].id}")
        shape = (len(questions), 1, 3)
        token = np.broadcast_to(np.arange(3)[:, None], (*shape, 1))
        ones = np.ones(shape, bool)
        drawn = Candidates(**dict.fromkeys(Candidates._fields))._replace(
            token=token, length=np.ones(shape, int), finished=ones, valid=ones
        )
        tree = SearchTree(**dict.fromkeys(SearchTree._fields))
        return np.arange(len(questions)), tree._replace(candidates=drawn, value=np.ones(shape))

    def submit(self, problems, texts):
        self.events.append(f"ask {problems[0].id}")
        return SimpleNamespace(result=lambda: self.wait(problems, texts))

    def wait(self, problems, texts):
        self.events.append(f"wait {problems[0].id}")
        return [text == problem.answer for problem, text in zip(problems, texts, strict=True)]


def test_guesses_are_verified_while_the_next_are_drawn():
    log = Log()
    expert = GuessAndCheck(log, log, in_flight=2)
    batches = [
        ([Problem(f"{i}{b}", "", f"[{(i + b) % 3}]") for b in (0, 1)], key)
        for i, key in enumerate(jax.random.split(jax.random.key(0), 4))
    ]
    found = list(expert.searches(None, batches))
    assert log.events == [
        *("draw 00", "ask 00", "draw 10", "ask 10", "wait 00"),
        *("draw 20", "ask 20", "wait 10", "draw 30", "ask 30", "wait 20", "wait 30"),
    ]
    for i, searched in enumerate(found):
        tree = searched.trees
        assert searched.rows.tolist() == [0, 1] and searched.problems == batches[i][0]
        for b in (0, 1):
            assert tree.won[b, 0].tolist() == [k == (i + b) % 3 for k in range(3)]
            assert tree.value[b, 0].tolist() == tree.q[b, 0].tolist() == tree.won[b, 0].tolist()


def test_while_a_world_answers_guesses_others_are_drawn():
    class Answered(Log):
        in_parts = True

        def play_in_parts(self, params, questions, key, budget, ask):
            for step in "ab":
                self.events.append(f"step {step} {questions[0].id}")
                yield
            return self.play_own(params, questions, key, budget)

    log = Answered()
    batches = [
        ([Problem(f"{i}", "", f"[{i}]")], key)
        for i, key in enumerate(jax.random.split(jax.random.key(0), 2))
    ]
    found = list(GuessAndCheck(log, log, in_flight=2).searches(None, batches))
    assert log.events == [
        *("step a 0", "step a 1", "step b 0", "step b 1"),
        *("draw 0", "ask 0", "draw 1", "ask 1", "wait 0", "wait 1"),
    ]
    assert [searched.trees.won[0, 0].tolist() for searched in found] == [
        [True, False, False],
        [False, True, False],
    ]
