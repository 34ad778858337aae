"""SVAMP from SmolLM2-135M-Instruct on two CPU cores: supervised warm start, then search.

    bash launch/smollm2.sh

fetches the weights and the problems, and runs

    python -m expert_iter.train --config=configs/svamp_smollm2.py --workdir=runs/smollm2 \
        --config.task.data_dir=DIR --config.pretrained.directory=WEIGHTS

DIR holds the published SVAMP.json, WEIGHTS what `expert_iter.import_gguf` wrote. For another text
task, name it after a colon: --config=configs/svamp_smollm2.py:stories, which needs no file.

All weights are trained, in float32. On two cores the warm start takes about 12 minutes and a round
about 10. Greedy test accuracy on 229 problems, with 40,000 tokens and 20 updates a round and one
seed: 21.4% after the warm start, 26.2% after four rounds (docs/results.md, under
"SmolLM2-135M on SVAMP").
"""

from expert_iter.config import default_config


def get_config(task="svamp"):
    config = default_config(task)

    # The longest solution has two lines. A line has 4 to 14 tokens, and rows that have ended are
    # left behind.
    config.search.max_steps = 4
    config.search.max_step_tokens = 32
    config.search.num_candidates = 4
    config.search.num_simulations = 6
    config.sampler.halvings = 3
    config.guess.max_tokens = 48
    config.guess.num_samples = 8

    config.warm_start.updates = 60
    config.improved.value_scale = 0.2
    config.learner.rows = 8
    config.learner.row_tokens = 256
    config.learner.row_steps = 32
    config.learner.updates_per_round = 30
    config.learner.rehearsal = 0.3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-5
    config.optimizer.round_learning_rate = 3e-5
    config.optimizer.weight_decay = 0.0

    config.run.rounds = 4
    config.run.problems_per_round = 128
    config.run.batch_size = 32

    config.evaluation.problems = 200
    config.evaluation.batch_size = 32
    config.evaluation.round_problems = 64
    config.evaluation.round_simulations = 6
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (6,)
    return config
