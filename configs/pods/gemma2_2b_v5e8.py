"""GSM8K from Gemma 2 2B on a TPU v5e-8 slice: 8 chips of 16 GB.

Trains all weights, in float32; computes in bfloat16.

    python -m expert_iter.train --distributed --config=configs/pods/gemma2_2b_v5e8.py \
        --workdir=gs://BUCKET/gemma2_2b_v5e8 --config.task.data_dir=DIR \
        --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published
google/gemma-2-2b; both must exist on every host. The plan needs no weights,
because the shape below is that of their config.json:

    python -m expert_iter.plan --config=configs/pods/gemma2_2b_v5e8.py --device_gigabytes=16
    python -m expert_iter.plan --compile --topology=v5e:2x4 \
        --config=configs/pods/gemma2_2b_v5e8.py

The first is arithmetic. The second compiles all programs for TPUs that need not be there. They
print each phase's peak memory on one device, with prompts of up to 256 tokens; by arithmetic, by
the compiler, and what that leaves free:

    learning                8.45 GB  8.85 GB   45%
    search by mcts          9.07 GB  8.92 GB   44%
    evaluation by mcts      5.69 GB     6 GB   62%
    evaluation by samples   5.78 GB  6.38 GB   60%
    evaluation by greedy          –  5.94 GB   63%
    a round, at most       search 58.6 PFLOP, learning 12.9 PFLOP

By the chip's published peaks a round takes at least 0.075 hours.
Each device updates on 4 rows. The devices of one tensor axis share the search of 8 problems.

Not run: time and accuracy are unknown.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("gsm8k")
    config.mesh.data = 1
    config.mesh.fsdp = 2
    config.mesh.tensor = 4
    config.mesh.search = "tensor"

    config.pretrained.vocab_size = 256_000
    config.model.num_layers = 26
    config.model.width = 2304
    config.model.num_heads = 8
    config.model.num_kv_heads = 4
    config.model.head_dim = 256
    config.model.mlp_width = 9216
    config.model.attention_softcap = 50.0
    config.model.logit_softcap = 30.0
    config.model.sliding_window = 4096
    config.model.global_every = 2
    config.model.query_scale = 256.0
    config.model.post_norms = True
    config.model.dtype = "bfloat16"

    config.search.max_steps = 10
    config.search.max_step_tokens = 64
    config.search.num_candidates = 4
    config.search.num_simulations = 16
    config.guess.max_tokens = 320
    config.guess.num_samples = 8

    config.warm_start.updates = 200
    config.improved.value_scale = 0.2
    config.learner.rows = 8
    config.learner.row_tokens = 1024
    config.learner.row_steps = 64
    config.learner.updates_per_round = 100
    config.learner.rehearsal = 0.3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-5
    config.optimizer.round_learning_rate = 5e-6
    config.optimizer.weight_decay = 0.0

    config.run.rounds = 4
    config.run.problems_per_round = 2048
    config.run.batch_size = 16

    config.evaluation.problems = 512
    config.evaluation.batch_size = 8
    config.evaluation.num_candidates = 4
    config.evaluation.round_problems = 128
    config.evaluation.round_simulations = 16
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (16,)
    return config
