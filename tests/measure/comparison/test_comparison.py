"""The comparison of experts, and the proof that none of them can reach the verifier."""

import csv
import json
from collections import Counter

import pytest

from expert_iter.assembly import Parts
from expert_iter.measure.comparison.comparison import ALL, READOUTS, Comparison, Pilot, sizes
from expert_iter.measure.evaluator import Evaluator
from expert_iter.model.transformer import Network
from expert_iter.search.experts import EXPERTS
from expert_iter.search.host_verifier import HostVerifier
from tests.guarded import GuardedTask, Letters, fresh_params, settings

FEW = ("greedy", "samples", "mcts", "beam")


@pytest.fixture(scope="module")
def task():
    return GuardedTask()


@pytest.fixture(scope="module")
def parts(task):
    network = Network(settings().model, Letters.vocab_size)
    return Parts(settings(), task, Letters(), network, objectives={})


@pytest.fixture(scope="module")
def params(parts):
    return fresh_params(parts.network)


@pytest.fixture(scope="module")
def compare(parts, params, task):
    """Makes comparisons in which the task is closed for as long as an expert works on answers."""
    answer = Evaluator.answer
    games = []

    def closed(self, *arguments):
        games.append(arguments[2])
        task.closed = True
        entries = list(answer(self, *arguments))
        task.closed = False
        return entries

    def no_verifier(*_):
        raise AssertionError("evaluation has no verifier")

    def make(folder, experts=FEW, budgets=(12, 30), seeds=2, params=params, **changes):
        problems = task.problems("test")
        who = parts.evaluator(), parts.verifier, params
        made = Comparison(*who, problems, folder, experts, budgets, seeds=seeds, **changes)
        made.games = games
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "answer", closed)
        patch.setattr(HostVerifier, "__init__", no_verifier)
        yield make


@pytest.fixture(scope="module")
def grid(compare, tmp_path_factory):
    """A whole comparison, and its rows; to be read only."""
    made = compare(tmp_path_factory.mktemp("grid"))
    return made, made.run()


@pytest.mark.slow  # the grid below has a few of them
def test_every_expert_answers_without_the_verifier(compare, tmp_path):
    """Each is there with all its readouts, and the answers were made with the task closed."""
    rows = compare(tmp_path, ALL, budgets=(30,), seeds=1, units=("tokens",)).run()
    wanted = [(name, readout) for name in ALL for readout in READOUTS.get(name, ("best",))]
    assert [(row["expert"], row["readout"]) for row in rows] == wanted
    assert set(ALL) == set(EXPERTS) - {"guess"}
    for row in rows:
        assert row["problems"] == len(row["correct"]) == 7
        assert (row["unit"], row["budget"], row["seed"]) == ("tokens", 30, 0)
        assert row["tokens"] > 0 and row["flops"] > 0


def test_the_grid_is_all_there_and_files_say_so(grid):
    (made, rows), folder = grid, grid[0].folder
    cells = Counter((r["expert"], r["unit"], r["budget"], r["seed"]) for r in rows)
    flops = [round(made.pilot.flops(tokens)) for tokens in (12, 30)]
    for expert in FEW:
        for unit, budgets in (("tokens", (12, 30)), ("flops", flops)):
            for budget in budgets:
                for seed in (0, 1):
                    assert cells.pop((expert, unit, budget, seed)) == len(
                        READOUTS.get(expert, ("best",))
                    )
    assert not cells
    text = made.write(rows)
    assert (folder / "comparison.md").read_text() == text
    with open(folder / "comparison.csv") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    kept = {"of": "7 problems, by a network", "rows": rows}
    assert json.loads((folder / "comparison.json").read_text()) == kept
    for picture in ("accuracy_by_tokens", "accuracy_by_flops", "over_optimisation_samples"):
        assert (folder / f"{picture}.png").stat().st_size > 5000


def test_larger_budgets_are_spent(grid):
    _, rows = grid
    for unit, cost in (("tokens", "tokens"), ("flops", "flops")):
        for expert in ("samples", "mcts", "beam"):
            spent = {}
            for row in rows:
                if (row["expert"], row["unit"]) == (expert, unit):
                    spent.setdefault(row["budget"], []).append(row[cost])
            (low, few), (high, many) = sorted(spent.items())
            assert max(few) < min(many)
            if expert == "samples":
                assert all(abs(x - high) < 0.25 * high for x in many)


def test_an_interrupted_comparison_goes_on_where_it_was(compare, grid, tmp_path):
    made, whole = grid
    (file,) = made.folder.glob("rows-*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == len(FEW) * 2 * 2 * 2
    kept = len(lines) - 3  # killed while it wrote the one after these
    (tmp_path / file.name).write_text("".join(lines[:kept]) + lines[kept][:40])
    made.games.clear()
    again = compare(tmp_path)
    rows = again.run()
    assert len(again.games) == 3
    timeless = lambda rows: sorted(  # noqa: E731
        json.dumps({k: v for k, v in row.items() if k != "seconds"}, sort_keys=True) for row in rows
    )
    assert timeless(rows) == timeless(whole)
    again.games.clear()
    assert timeless(compare(tmp_path).run()) == timeless(whole)
    assert again.games == []


def test_another_network_starts_anew_and_overwrites_nothing(compare, tmp_path, params):
    compare(tmp_path, ("greedy",), (12,), 1, units=("tokens",)).run()
    (first,) = tmp_path.glob("rows-*.jsonl")
    kept = first.read_text()
    other = params | {"value_weight": -params["value_weight"]}
    made = compare(tmp_path, ("greedy",), (12,), 1, params=other, units=("tokens",))
    made.games.clear()
    made.run()
    assert len(made.games) == 1 and len(list(tmp_path.glob("rows-*.jsonl"))) == 2
    assert first.read_text() == kept


def test_trees_are_sized_to_their_budget():
    """The root takes at most its share, wider with the budget; the rest pays for expansions."""
    pilot = Pilot(solution_tokens=18.0, step_tokens=9.0, prompt_flops=10.0, solution_flops=180.0)
    assert pilot.flops(36) == 10 + 360
    before = 0
    for tokens in (20, 48, 72, 192, 288, 768, 1152, 5000):
        for rollouts in (0, 1, 2):
            size = sizes(tokens, pilot, 2, rollouts)
            root = size.root_candidates * 9 * (1 + rollouts)
            assert root <= 0.6 * tokens + 9 * (1 + rollouts)
            assert 1 <= size.num_candidates <= min(4, size.root_candidates)
            expansion = size.num_candidates * 9
            assert size.num_simulations * expansion >= tokens - root
            assert size.num_samples >= 1.25 * tokens / 18 and size.num_samples % 8 == 0
        wide = sizes(tokens, pilot, 2).root_candidates
        assert wide >= before
        before = wide
    assert sizes(300, pilot, 30).root_candidates == sizes(300, pilot, 2).root_candidates
    assert sizes(300, pilot._replace(step_tokens=3.0), 6).num_simulations > 10


def test_the_baseline_is_best_of_n(compare, tmp_path):
    baseline = lambda *experts: compare(tmp_path, experts).baseline()  # noqa: E731
    assert baseline("greedy", "samples", "mcts") == ("samples", "best")
    every = baseline("samples", "samples_without_replacement")
    assert every == ("samples_without_replacement", "best")
    assert baseline("mcts", "beam") == ("mcts", "best")


def test_seeds_are_other_draws(compare, tmp_path):
    rows = compare(tmp_path, ("samples",), (120,), 3, units=("tokens",)).run()
    assert len({(row["seed"], row["tokens"], row["correct"]) for row in rows}) > 3
    assert len({(row["tokens"], row["correct"]) for row in rows if row["readout"] == "min"}) > 1
