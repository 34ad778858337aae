"""Calibration by step and rollouts from prefixes, against counts by hand."""

import itertools
from collections import Counter

import numpy as np
import pytest

from expert_iter.assembly import Parts
from expert_iter.measure import rollouts, value_head
from expert_iter.measure.comparison.comparison import Comparison, Sizes
from expert_iter.model.transformer import Network
from expert_iter.tasks.verifier.pool import InProcessVerifier
from tests.guarded import GuardedTask, Letters, fresh_params, settings


@pytest.fixture(scope="module")
def parts():
    network = Network(settings().model, Letters.vocab_size)
    return Parts(settings(), GuardedTask(), Letters(), network, objectives={})


@pytest.fixture(scope="module")
def comparison(parts, tmp_path_factory):
    who = parts.evaluator(), parts.verifier, fresh_params(parts.network)
    return Comparison(*who, parts.task.problems("test"), tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def steps(comparison):
    return value_head.sampled_steps(comparison)


def test_steps_are_the_lines_of_solutions(parts, comparison, steps):
    """Each once, first steps first; what is final is a whole text, judged by the task."""
    assert len({(s.problem, s.position, s.prefix) for s in steps}) == len(steps)
    places = [place for place, _ in itertools.groupby(steps, key=lambda s: s.position)]
    assert places[0] == "step 1" and places[-1] == value_head.FINAL
    assert places == list(dict.fromkeys(places))
    verdict, problems = parts.task.verdict, comparison.problems
    for step in steps:
        assert 0 <= step.right <= step.draws > 0 and 0 < step.value < 1
        if step.position == value_head.FINAL:
            assert step.right == step.draws * verdict(problems[step.problem], step.prefix)
        else:
            number = int(step.position.split()[1])
            assert step.prefix.count("\n") == number and step.prefix.endswith("\n")
    # What solutions share is counted once for each: the draws of a first line are those of all
    # solutions that begin with it.
    final = [s for s in steps if s.position == value_head.FINAL]
    for step in steps:
        if step.position == "step 1":
            after = [
                s for s in final if s.problem == step.problem and s.prefix.startswith(step.prefix)
            ]
            assert step.draws == sum(s.draws for s in after)
            assert step.right == sum(s.right for s in after)


def test_calibration_counts_every_draw(steps):
    found = {row["position"]: row for row in value_head.calibrate(steps)}
    draws, right = Counter(), Counter()
    for step in steps:
        draws[step.position] += step.draws
        right[step.position] += step.right
    assert {place: row["count"] for place, row in found.items()} == draws
    for place, row in found.items():
        assert row["base_rate"] == pytest.approx(right[place] / draws[place])
    assert value_head.calibrate([]) == []


def test_rollouts_continue_the_prefix_and_ask_about_the_whole_text(comparison):
    """From an empty prefix they are samples; from a whole text with its end, what it says."""
    problems, evaluator = comparison.problems, comparison.resized(Sizes(1, 1, 1, num_samples=32))
    prefixes = ["", "b\n", "", "", "a", "c\nc\n", ""]

    def success_rates(verifier):
        given = comparison.params, problems, prefixes
        return rollouts.success_rates(evaluator, verifier, *given, num_rollouts=32)

    rates = success_rates(comparison.verifier)
    assert rates.shape == (7,) and ((rates >= 0) & (rates <= 1)).all() and 0 < rates.mean() < 1
    asked = set()
    task = GuardedTask()
    task.verdict = lambda problem, text: asked.add((problem.id, text)) or True
    finished = success_rates(InProcessVerifier(task))
    assert (finished >= rates).all()  # all that finish are right now
    for (identity, text), prefix in itertools.product(asked, prefixes):
        i = [problem.id for problem in problems].index(identity)
        assert text.startswith(prefixes[i]), prefix


def test_values_against_rates_by_hand():
    rows = rollouts.against_values(
        ["step 1", "step 2", "step 1", "step 1"], [0.2, 0.5, 0.4, 0.9], [0.0, 0.25, 0.5, 1.0]
    )
    assert [row["position"] for row in rows] == ["step 1", "step 2"]
    first, second = rows
    assert first["count"] == 3 and first["value"] == pytest.approx(0.5)
    assert first["rate"] == pytest.approx(0.5) and first["any"] == pytest.approx(2 / 3)
    expected = np.corrcoef([0.2, 0.4, 0.9], [0, 0.5, 1])[0, 1]
    assert first["correlation"] == pytest.approx(expected)
    assert np.isnan(second["correlation"]) and second["any"] == 1
    assert "| step 1 | 3 | 0.500 | 0.500 | 0.667 |" in rollouts.to_markdown(rows, 16)


def test_the_tables_and_the_picture_are_written(comparison):
    text = value_head.write(comparison)
    assert (comparison.folder / "value_head.md").read_text() == text + "\n"
    assert (comparison.folder / "calibration.png").stat().st_size > 5000
    assert "expected calibration error" in text and "rollouts" in text
