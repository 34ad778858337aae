"""Configs with names of settings that were: typed ones are refused with the new name, stored ones
are read as their runs had them.
"""

import dataclasses
import json

import pytest

from expert_iter import renamed
from expert_iter.config import completed, default_config, sections, settings
from expert_iter.errors import UserError
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.overrides import load_config, override


@pytest.mark.parametrize("name", renamed.SETTINGS)
def test_an_old_name_is_answered_with_the_new_one(name):
    """In a config that is otherwise as it should be."""
    section, _, key = name.partition(".")
    config = default_config("countdown").to_dict()
    known = [*config, *(f"{name}.{key}" for name in sections() for key in config[name])]
    gone = name if section in config else section  # what the config does not have any more
    config.setdefault(section, {})[key] = 1
    with pytest.raises(UserError) as error:
        settings(config)
    assert renamed.hint(gone) in str(error.value) and "\n" not in str(error.value)
    new = renamed.SETTINGS[name]
    assert not new or any(word in new for word in known), "the new name is one that there is"


def test_a_flag_and_a_file_with_an_old_name_are_answered_likewise(tmp_path):
    config = default_config("countdown")
    with pytest.raises(UserError, match=r"targets\.max_lost has another name now: value\.max_lost"):
        override(config, ["train", "--config.targets.max_lost=2"])
    path = tmp_path / "mine.py"
    path.write_text(
        "from expert_iter.config import default_config\n\n"
        "def get_config():\n    config = default_config('countdown')\n"
        "    config.loss.value_weight = 0.3\n    return config\n"
    )
    with pytest.raises(UserError) as error:
        load_config(str(path))
    assert f"{path}, line 5: {renamed.hint('loss')}" in str(error.value)


# What a run before the objectives kept of them, all of it changed by its user.
OLD = {
    "targets": {
        "policy": "improved",
        "nodes": "all",
        "min_visits": 2,
        "value_scale": 0.3,
        "maxvisit_init": 40.0,
        "value_mix": 0.25,
        "max_lost": 7,
    },
    "loss": {"policy": "steps", "value_weight": 0.7},
}


def read_again(targets, loss):
    """The settings of a stored config of that time, as JSON brings it back."""
    config = default_config("countdown").to_dict()
    for name in OBJECTIVES:
        del config[name]
    del config["learner"]["objectives"]
    config |= {"targets": OLD["targets"] | targets, "loss": OLD["loss"] | loss}
    return settings(completed(json.loads(json.dumps(config))))


@pytest.mark.parametrize(
    ("targets", "loss", "objective", "changed"),
    [
        (
            {},
            {},
            "improved",
            dict(nodes="all", min_visits=2, value_scale=0.3, maxvisit_init=40.0),
        ),
        ({"policy": "winners"}, {}, "winners", dict(nodes="won", min_visits=2)),
        ({"policy": "winners", "nodes": "root"}, {}, "winners", dict(nodes="root", min_visits=2)),
        (
            {"policy": "winners"},
            {"policy": "set"},
            "set_normalised",
            dict(nodes="all", min_visits=2, value_scale=0.3, maxvisit_init=40.0, towards="winners"),
        ),
    ],
)
def test_a_stored_config_with_old_names_is_read(targets, loss, objective, changed):
    """With what its run did, and of all other objectives the defaults."""
    made = read_again(targets, loss)
    assert made.learner.objectives == (objective, "value")
    expected = {name: section() for name, (_, section) in OBJECTIVES.items()}
    expected[objective] = dataclasses.replace(expected[objective], **changed)
    expected["value"] = dataclasses.replace(expected["value"], weight=0.7, mix=0.25, max_lost=7)
    assert made.objectives == expected
    others = dataclasses.replace(made.learner, objectives=("improved", "value"))
    assert others == settings(default_config("countdown")).learner


def test_an_old_config_that_lacks_keys_had_their_defaults_of_then():
    config = default_config("countdown").to_dict()
    for name in OBJECTIVES:
        del config[name]
    del config["learner"]["objectives"]
    made = settings(completed(config | {"targets": {"max_lost": 1}}))
    assert made.learner.objectives == ("improved", "value")
    assert made.objectives["improved"].value_scale == 0.2
    assert made.objectives["value"].max_lost == 1 and made.objectives["value"].weight == 0.5


def old_search(**evaluation):
    """The stored config of a run whose search still could halve its batch."""
    config = default_config("countdown").to_dict()
    config["search"] |= {"halvings": 1, "root_candidates": 12, "num_candidates": 4}
    del config["evaluation"]["round_samples"]
    for key, value in evaluation.items():
        config["evaluation"][key] = value
    return settings(completed(json.loads(json.dumps(config))))


def test_a_stored_config_with_a_setting_that_is_gone_is_read():
    made = old_search(num_candidates=3, root_candidates=16)
    assert (made.search.num_candidates, made.search.root_candidates) == (4, 12)
    assert made.evaluation.num_candidates == 3 and made.evaluation.root_candidates == 16


def test_a_stored_config_is_evaluated_with_the_candidates_that_it_had():
    """As many at the root as elsewhere, though its search has more there."""
    made = old_search(num_candidates=8, root_candidates=0)
    assert (made.evaluation.num_candidates, made.evaluation.root_candidates) == (8, 8)


def test_a_config_of_today_is_read_as_it_is():
    config = default_config("countdown").to_dict()
    config["learner"]["objectives"] = ("winners", "value")
    assert settings(completed(config)) == settings(config)
    damaged = config | {"targets": 3}
    with pytest.raises(UserError, match="config.targets has another name now"):
        settings(completed(damaged))
