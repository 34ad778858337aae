"""GSM8K from SmolLM2-135M-Instruct on two CPU cores: supervised warm start, then one round of
search.

    python -m expert_iter.train --config=configs/gsm8k_smollm2.py --workdir=runs/gsm8k_smollm2 \
        --config.task.data_dir=DIR --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS what `expert_iter.import_gguf` wrote
(docs/weights.md).

All weights are trained, in float32.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("gsm8k")

    config.search.max_steps = 8
    config.search.max_step_tokens = 64
    config.search.num_candidates = 4
    config.search.num_simulations = 12
    config.sampler.halvings = 3
    config.guess.max_tokens = 192
    config.guess.num_samples = 8

    config.warm_start.updates = 300
    config.improved.value_scale = 0.2
    config.learner.rows = 4
    config.learner.row_tokens = 512
    config.learner.row_steps = 32
    config.learner.overlong = "drop"
    config.learner.updates_per_round = 60
    config.learner.rehearsal = 0.3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-5
    config.optimizer.round_learning_rate = 3e-5
    config.optimizer.weight_decay = 0.0

    config.run.rounds = 1
    config.run.problems_per_round = 256
    config.run.batch_size = 16

    config.evaluation.problems = 200
    config.evaluation.batch_size = 16
    config.evaluation.round_problems = 64
    config.evaluation.round_simulations = 12
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (12,)
    return config
