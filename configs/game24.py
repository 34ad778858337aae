"""The Game of 24: combine four numbers from 1 to 13 into 24; fractions are allowed.

    python -m expert_iter.train --config=configs/game24.py --workdir=runs/game24

0.73M parameters, 12 rounds, about two hours on two CPU cores. docs/results.md has the accuracy.

There are only 1,362 puzzles, and random play rarely solves one. So most training problems are a
curriculum: three or four numbers with any target up to 100.

--config.task.exclude=FILE keeps puzzles out of training; FILE is a CSV with the columns Rank and
Puzzles. --config.task.file=24.csv reads the public list, whose ranks 901 to 1000 are the test.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("game24")
    config.task.train_targets = "any"
    config.task.train_size = 40_000
    config.task.curriculum_share = 0.75

    config.model.rope_base = 100.0
    config.model.num_layers = 4
    config.model.width = 160

    config.search.max_steps = 3
    config.search.max_step_tokens = 16
    config.search.num_candidates = 8
    config.search.num_simulations = 24
    config.guess.max_tokens = 40

    config.warm_start.updates = 3000
    config.improved.value_scale = 0.2
    config.learner.rows = 16
    config.learner.row_tokens = 192
    config.learner.row_steps = 40
    config.learner.updates_per_round = 250
    config.learner.rehearsal = 0.15
    config.optimizer.learning_rate = 3e-3
    config.optimizer.round_learning_rate = 1e-3
    config.value.max_lost = 2
    config.value.weight = 0.25
    config.run.rounds = 12
    config.run.problems_per_round = 768

    config.evaluation.problems = 100
    config.evaluation.batch_size = 100
    config.evaluation.round_problems = 100
    config.evaluation.num_candidates = 8
    config.evaluation.round_simulations = 32
    config.evaluation.samples = (8, 32, 64)
    config.evaluation.simulations = (8, 32, 64)
    return config
