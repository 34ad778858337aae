import numpy as np
import pytest

from expert_iter.learn import reanalysis
from expert_iter.learn.step_tree import Origin

PLACES = {"a": 10, "b": 20, "c": 30}


def origin(problem, updates):
    return Origin(problem, 1, 0, updates)


def test_problems_are_drawn_in_proportion_to_their_staleness():
    """At update 100 a is 60 updates behind and b 20; c was just searched, d may not be."""
    origins = [origin("a", 40), origin("b", 80), origin("c", 100), origin("d", 0), Origin()]
    draws = [
        reanalysis.draw(origins, 100, PLACES, 1, np.random.default_rng(seed))
        for seed in range(2000)
    ]
    share = np.mean([draw == [10] for draw in draws])
    assert share == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 2000))
    assert {place for draw in draws for place in draw} == {10, 20}


def test_the_newest_search_of_a_problem_tells_how_stale_it_is():
    origins = [origin("a", 0), origin("b", 50), origin("a", 100)]
    assert reanalysis.draw(origins, 100, PLACES, 3, np.random.default_rng(0)) == [20]


def test_a_problem_is_drawn_at_most_once_and_no_more_than_there_are():
    origins = [origin(problem, 0) for problem in "abcabc"]
    drawn = reanalysis.draw(origins, 9, PLACES, 5, np.random.default_rng(0))
    assert sorted(drawn) == [10, 20, 30]
    assert len(reanalysis.draw(origins, 9, PLACES, 2, np.random.default_rng(0))) == 2
    assert reanalysis.draw([], 9, PLACES, 2, np.random.default_rng(0)) == []


def test_problems_searched_again_are_spread_over_the_round():
    order = np.arange(100)[::-1]
    mixed = reanalysis.interleaved(order, [3, 97, 50, 8], count=12)
    assert sorted(mixed) == list(range(100)), "each problem once"
    again = [i for i, problem in enumerate(mixed[:12]) if problem in (3, 97, 50, 8)]
    assert len(again) == 4 and set(np.diff(again)) == {3}
    rest = [problem for problem in mixed if problem not in (3, 97, 50, 8)]
    assert rest == [problem for problem in order if problem not in (3, 97, 50, 8)]


@pytest.mark.parametrize("again, count", [([], 5), ([2], 1), ([0, 1, 2], 8), (list(range(6)), 6)])
def test_every_problem_has_one_place_in_any_round(again, count):
    mixed = reanalysis.interleaved(np.arange(6), again, count)
    assert sorted(mixed) == list(range(6))
    assert set(again) <= set(mixed[:count])
