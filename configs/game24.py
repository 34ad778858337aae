"""The Game of 24: four numbers from 1 to 13, target 24, fractions allowed on the way.

    python -m expert_iter.train --config=configs/game24.py --workdir=runs/game24

Puzzles alone are few (1,362) and hard to hit by chance, so most training problems are a curriculum:
three or four numbers with any target up to 100. Keep puzzles out of training with
--config.task.exclude=FILE (a CSV with the columns Rank and Puzzles); --config.task.file=24.csv
reads the public list, of which ranks 901 to 1000 are then the test. 0.73M parameters, 12 rounds,
about two hours on two CPU cores; docs/results.md has the score.
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
    config.evaluation.round_simulations = 32
    config.evaluation.samples = (8, 32, 64)
    config.evaluation.simulations = (8, 32, 64)
    return config
