"""Quick start: Countdown with three numbers from 1 to 20 and targets up to 60.

    python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown

0.43M parameters, 10 rounds of 1,024 problems, 6.1M generated tokens. The README has the time and
the accuracy.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("countdown")
    config.task.largest = 20
    config.task.max_target = 60
    config.task.max_value = 60
    config.model.rope_base = 100.0
    config.warm_start.updates = 400
    config.search.num_simulations = 8
    config.improved.value_scale = 0.2
    config.learner.rows = 16
    config.learner.row_tokens = 128
    config.learner.row_steps = 32
    config.learner.updates_per_round = 240
    config.learner.rehearsal = 0.12
    config.optimizer.round_learning_rate = 1.5e-3
    config.optimizer.average = 0.98
    config.value.max_lost = 2
    config.value.weight = 0.3
    config.run.rounds = 10
    # Solutions share first steps, and few continuations are right: docs/results.md.
    config.evaluation.root_candidates = 16
    config.evaluation.num_candidates = 3
    config.evaluation.simulations = (2, 4, 8, 16)
    config.evaluation.round_problems = 128
    return config
