import copy
import dataclasses
import json
import math

import pytest
from ml_collections import ConfigDict

from expert_iter.config import SECTIONS, default_config, sections, settings
from expert_iter.errors import UserError
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.tasks.numbers.countdown import CountdownConfig
from expert_iter.tasks.numbers.game24 import Game24Config

TASKS = {"countdown": CountdownConfig, "game24": Game24Config}


def config_with(**changes):
    """The default config with `section__key=value` changed or added."""
    config = default_config("countdown").to_dict()
    for name, value in changes.items():
        section, key = name.split("__")
        config[section][key] = value
    return config


def error_of(config):
    with pytest.raises(UserError) as error:
        settings(config)
    message = str(error.value)
    assert message and "\n" not in message
    return message


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_those_of_the_dataclasses(task):
    made = settings(default_config(task))
    assert made.task_name == task and made.task == TASKS[task]()
    for name, section in SECTIONS.items():
        assert getattr(made, name) == section()
    assert made.objectives == {name: section() for name, (_, section) in OBJECTIVES.items()}


@pytest.mark.parametrize("task", TASKS)
def test_round_trip_through_json(task):
    """As `config.json` in a workdir: tuples come back as lists, and must mean the same."""
    config = default_config(task)
    config.evaluation.samples = (3, 9)
    config.search.value_scale = 0.3
    again = json.loads(json.dumps(config.to_dict()))
    assert again["evaluation"]["samples"] == [3, 9]
    assert settings(again) == settings(config)
    assert settings(again).evaluation.samples == (3, 9)
    assert settings(ConfigDict(again)) == settings(config)


def test_every_section_is_a_field_of_the_settings_and_has_only_defaults_json_can_hold():
    made = settings(default_config("countdown"))
    names = {field.name for field in dataclasses.fields(made)}
    assert names == {"task_name", "task", "objectives", *SECTIONS}
    assert set(made.objectives) == set(OBJECTIVES)
    for section in sections().values():
        for value in dataclasses.asdict(section()).values():
            assert isinstance(value, bool | int | float | str | tuple)


def test_changes_arrive_and_nothing_is_changed_in_place():
    config = config_with(search__num_simulations=5, run__expert="guess", task__numbers=4)
    before = copy.deepcopy(config)
    made = settings(config)
    assert made.search.num_simulations == 5 and made.run.expert == "guess"
    assert made.task.numbers == 4
    assert config == before


def test_a_whole_number_will_do_for_a_float_but_not_the_other_way_round():
    made = settings(config_with(run__save_seconds=5, optimizer__learning_rate=1))
    assert made.run.save_seconds == 5.0 and type(made.run.save_seconds) is float
    assert "run.rounds" in error_of(config_with(run__rounds=2.0))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("run__rounds", "3"),
        ("run__rounds", None),
        ("run__rounds", True),
        ("run__expert", 3),
        ("run__save_seconds", "60"),
        ("run__save_seconds", True),
        ("sampler__replacement", 1),
        ("sampler__replacement", "false"),
        ("evaluation__samples", 4),
        ("evaluation__samples", (4, "8")),
        ("evaluation__samples", (4, 8.0)),
        ("evaluation__samples", (4, True)),
        ("learner__objectives", "winners"),
        ("learner__objectives", ("winners", 3)),
        ("value__weight", "1"),
        ("policy_gradient__normalise", 1),
        ("task__numbers", "3"),
        ("task__problems_file", 3),
        ("model__dtype", 32),
    ],
)
def test_wrong_types_are_named_with_what_is_wanted(change, value):
    message = error_of(config_with(**{change: value}))
    assert change.replace("__", ".") in message
    wanted = str if change == "learner__objectives" else int
    shown = next((x for x in value if type(x) is not wanted), 0) if type(value) is tuple else value
    assert repr(shown) in message


@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        ("search", "num_simulation", "search.num_simulations"),
        ("search", "max_step", "search.max_steps"),
        ("task", "number", "task.numbers"),
        ("run", "round", "run.rounds"),
        ("optimizer", "learningrate", "optimizer.learning_rate"),
    ],
)
def test_a_mistyped_key_is_answered_with_the_near_ones(section, key, near):
    message = error_of(config_with(**{f"{section}__{key}": 1}))
    assert f"{section}.{key};" in message and near in message


def test_a_key_like_no_other_is_answered_with_all_there_are():
    message = error_of(config_with(value__xyzzy=1))
    assert "value.xyzzy" in message and "weight" in message and "max_lost" in message


def test_a_mistyped_section():
    config = default_config("countdown").to_dict()
    config["serach"] = config.pop("search")
    message = error_of(config)
    assert "serach" in message and "did you mean 'search'" in message


@pytest.mark.parametrize("section", ["task", *sections()])
def test_a_missing_section_or_key_is_named(section):
    config = default_config("countdown").to_dict()
    key = next(key for key in config[section] if key != "name")
    del config[section][key]
    assert f"{section}.{key}" in error_of(config)
    del config[section]
    assert section in error_of(config)


@pytest.mark.parametrize("value", [3, "countdown", None, []])
def test_a_section_must_be_a_section(value):
    config = default_config("countdown").to_dict()
    assert "config.run must be a section" in error_of(config | {"run": value})
    assert "task.name" in error_of(config | {"task": value})


@pytest.mark.parametrize("config", [None, [], "countdown"])
def test_a_config_must_be_a_config(config):
    error_of(config)


def test_unknown_tasks_are_answered_with_the_near_ones():
    with pytest.raises(UserError, match="'countdwn'.*countdown"):
        default_config("countdwn")
    assert "countdown" in error_of(config_with(task__name="countdwn"))
    assert "task.name" in error_of(config_with(task__name=3))
    config = default_config("countdown").to_dict()
    del config["task"]["name"]
    assert "task.name" in error_of(config)


def test_a_tasks_keys_are_its_own():
    config = default_config("countdown").to_dict()
    config["task"]["name"] = "game24"
    assert "task." in error_of(config)


IMPOSSIBLE = [
    ("run.rounds", -1),
    ("run.expert", "mtcs"),
    ("run.problems_per_round", 0),
    ("run.batch_size", 0),
    ("run.seed", -1),
    ("run.tokens_per_round", -1),
    ("run.save_seconds", -1.0),
    ("run.keep_checkpoints", 0),
    ("tokenizer.vocab_size", 3),
    ("tokenizer.vocab_size", -1),
    ("model.num_layers", 0),
    ("model.width", 0),
    ("model.num_heads", -3),
    ("model.num_kv_heads", 3),
    ("model.head_dim", 7),
    ("model.mlp_width", -4),
    ("model.activation", "relu"),
    ("model.rope_base", 0.0),
    ("model.norm_epsilon", -1e-6),
    ("model.attention_softcap", -1.0),
    ("model.logit_softcap", -1.0),
    ("model.sliding_window", -1),
    ("model.global_every", -1),
    ("model.dtype", "float16"),
    ("search.num_simulations", 0),
    ("search.num_candidates", 0),
    ("search.max_steps", 0),
    ("search.max_step_tokens", -1),
    ("search.policy", "uct"),
    ("search.value_scale", -0.1),
    ("search.maxvisit_init", -1.0),
    ("search.gumbel_scale", -1.0),
    ("search.lookahead", 1.5),
    ("search.pb_c_init", -1.0),
    ("search.pb_c_base", 0.0),
    ("sampler.temperature", -0.5),
    ("sampler.top_k", -1),
    ("sampler.top_p", 0.0),
    ("sampler.top_p", 1.1),
    ("sampler.max_log_ratio", -1.0),
    ("guess.num_samples", 0),
    ("guess.max_tokens", 0),
    *((f"{name}.weight", -1.0) for name in OBJECTIVES),
    *(
        (f"{name}.{key}", value)
        for name in ("improved", "set_normalised")
        for key, value in (
            ("nodes", "some"),
            ("min_visits", 0),
            ("value_scale", -0.1),
            ("maxvisit_init", -1.0),
        )
    ),
    ("set_normalised.towards", "best"),
    ("winners.nodes", "all"),
    ("winners.min_visits", 0),
    ("step_preferences.margin", 0.0),
    ("step_preferences.beta", -0.1),
    ("policy_gradient.clip", 0.0),
    ("value.max_lost", -1),
    ("value.mix", 1.1),
    ("optimizer.name", "sgd"),
    ("optimizer.learning_rate", 0.0),
    ("optimizer.round_learning_rate", -1.0),
    ("optimizer.muon_scale", 0.0),
    ("optimizer.warmup_updates", -1),
    ("optimizer.final_fraction", 1.5),
    ("optimizer.weight_decay", -0.1),
    ("optimizer.beta1", 1.0),
    ("optimizer.beta2", 1.0),
    ("optimizer.beta2", -0.1),
    ("optimizer.clip_norm", 0.0),
    ("learner.rows", 0),
    ("learner.row_tokens", 0),
    ("learner.row_steps", 0),
    ("learner.updates_per_round", 0),
    ("learner.max_passes", 0.0),
    ("learner.rehearsal", 1.0),
    ("learner.rehearsal", -0.1),
    ("learner.overlong", "keep"),
    ("mesh.data", -1),
    ("mesh.tensor", 0),
    ("mesh.search", "split"),
    ("verifier.workers", 0),
    ("pretrained.vocab_size", -1),
    ("replay.min_trees", 0),
    ("replay.max_trees", 1),
    ("replay.growth", -0.1),
    ("replay.exponent", 0.0),
    ("replay.reanalyse", 1.5),
    ("store.gigabytes", -1.0),
    ("warm_start.updates", -1),
    ("evaluation.problems", 0),
    ("evaluation.batch_size", 0),
    ("evaluation.samples", (4, 0)),
    ("evaluation.simulations", (-2,)),
    ("evaluation.num_candidates", -1),
    ("evaluation.round_problems", 0),
    ("evaluation.round_simulations", 0),
    ("evaluation.prior_weight", -0.1),
    ("evaluation.seed", -1),
    ("task.seed", -1),
    ("task.numbers", 1),
    ("task.numbers", 99),
    ("task.largest", 0),
    ("task.smallest", 50),
    ("task.max_target", 1000),
    ("task.min_target", -1),
    ("task.max_value", 0),
    ("task.train_size", 0),
]


@pytest.mark.parametrize(("key", "value"), IMPOSSIBLE)
def test_impossible_values_are_refused_by_name(key, value):
    section, name = key.split(".")
    message = error_of(config_with(**{f"{section}__{name}": value}))
    assert f"{section}." in message and name in message
    assert repr(value) in message or str(value) in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_setting_can_be_infinite_or_no_number(value):
    for section, cls in {"task": Game24Config, **sections()}.items():
        for field in dataclasses.fields(cls):
            if isinstance(field.default, float):
                config = default_config("game24").to_dict()
                config[section][field.name] = value
                assert f"{section}.{field.name}" in error_of(config)


def test_every_section_is_among_the_impossible():
    """A new section wants its own line above."""
    assert {key.split(".")[0] for key, _ in IMPOSSIBLE} == {"task", *sections()}


@pytest.mark.parametrize("name", ["search", "task"])
def test_an_objective_cannot_take_a_sections_name(monkeypatch, name):
    monkeypatch.setitem(OBJECTIVES, name, OBJECTIVES["value"])
    with pytest.raises(UserError, match=f"objective '{name}' has the name of a section"):
        default_config("countdown")


def test_an_objective_that_does_not_exist_is_named_with_those_that_do():
    message = error_of(config_with(learner__objectives=("value", "winers")))
    assert "learner.objectives: there is no objective 'winers'; there are" in message
    assert all(name in message for name in OBJECTIVES)
