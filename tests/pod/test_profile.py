"""Traces of some units of a phase."""

import jax
import pytest

from expert_iter.errors import UserError
from expert_iter.pod.profile import Profile


def traces(directory):
    return list(directory.rglob("*.xplane.pb"))


def work(profile, name, label, units):
    for number in range(units):
        with profile.unit(name, label, number):
            jax.jit(lambda x: x + 1)(1.0).block_until_ready()
    profile.close()


def test_only_the_units_asked_for_of_the_first_phase_that_fits(tmp_path):
    profile = Profile(tmp_path, "search", "1-2")
    work(profile, "learn", "round 1: learn", 3)
    assert not profile.done and not traces(tmp_path)
    work(profile, "search", "round 1: search", 4)
    assert profile.done and len(traces(tmp_path)) == 1
    work(profile, "search", "round 2: search", 4)
    assert len(traces(tmp_path)) == 1


def test_of_one_round(tmp_path):
    profile = Profile(tmp_path, "round 2: search", "0-0")
    work(profile, "search", "round 1: search", 1)
    assert not profile.done
    work(profile, "search", "round 2: search", 1)
    assert profile.done and traces(tmp_path)


def test_a_phase_that_is_over_early_leaves_what_there_is(tmp_path):
    profile = Profile(tmp_path, "search", "0-9")
    work(profile, "search", "search", 2)
    assert profile.done and traces(tmp_path)


@pytest.mark.parametrize("units", ["", "3", "2-1", "a-b"])
def test_units_that_are_none(tmp_path, units):
    with pytest.raises(UserError, match="--profile_units takes the first and the last"):
        Profile(tmp_path, "search", units)
