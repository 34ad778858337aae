"""Countdown with four numbers, or as many as stand after a colon, and the world's rules: the
network writes moves, the world computes results and ends what is illegal.

    python -m expert_iter.train --config=configs/countdown_world.py --workdir=runs/countdown4
    python -m expert_iter.train --config=configs/countdown_world.py:5 --workdir=runs/countdown5

0.43M parameters, made for two CPU cores. What it reached so far: docs/results.md, "Countdown by the
world's rules".
"""

from expert_iter.config import default_config


def get_config(numbers="4"):
    config = default_config("countdown")
    config.task.rules = "world"
    config.task.numbers = int(numbers)
    config.task.largest = 20
    config.model.rope_base = 100.0
    config.search.max_steps = config.task.numbers - 1
    config.search.max_step_tokens = 8
    # Room for results up to task.max_value: a longer answer makes its step illegal.
    config.search.max_observation_tokens = 2 * config.task.numbers
    config.search.num_simulations = 16
    config.improved.value_scale = 0.2
    # Half of the random plays reach their target, and show the value head what that is worth.
    config.warm_start.updates = 600
    config.warm_start.hindsight = 0.5
    config.warm_start.value_targets = True
    config.learner.rows = 16
    config.learner.row_tokens = 256
    config.learner.row_steps = 64
    config.learner.updates_per_round = 120
    config.learner.rehearsal = 0.12
    config.optimizer.round_learning_rate = 1.5e-3
    config.optimizer.average = 0.98
    config.value.weight = 0.3
    config.run.rounds = 8
    config.run.problems_per_round = 512
    config.evaluation.samples = (8, 32)
    config.evaluation.simulations = (8, 16)
    config.evaluation.round_problems = 128
    return config
