"""GSM8K from Gemma 2 9B on a TPU v5p-16 slice: 8 chips of 95 GB, each one device.

Trains all weights, in float32; computes in bfloat16.

    python -m expert_iter.train --distributed --config=configs/pods/gemma2_9b_v5p16.py \
        --workdir=gs://BUCKET/gemma2_9b_v5p16 --config.task.data_dir=DIR \
        --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published
google/gemma-2-9b; both must exist on every host. The plan needs no weights,
because the shape below is that of their config.json:

    python -m expert_iter.plan --config=configs/pods/gemma2_9b_v5p16.py --device_gigabytes=95
    python -m expert_iter.plan --compile --topology=v5p:2x2x2 \
        --config=configs/pods/gemma2_9b_v5p16.py

The first is arithmetic. The second compiles all programs for TPUs that need not be there. They
print each phase's peak memory on one device, with prompts of up to 256 tokens; by arithmetic, by
the compiler, and what that leaves free:

    learning                55.2 GB  60.5 GB   36%
    search by mcts            52 GB  55.5 GB   42%
    evaluation by mcts      37.4 GB  39.6 GB   58%
    evaluation by samples   37.7 GB  37.4 GB   61%
    evaluation by greedy          –  34.3 GB   64%
    a round, at most       search 407 PFLOP, learning 90.8 PFLOP

By the chip's published peaks a round takes at least 0.086 hours.
Each device updates on 8 rows. The devices of one tensor axis share the search of 32 problems.

Not run: time and accuracy are unknown.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("gsm8k")
    config.mesh.data = 2
    config.mesh.fsdp = 1
    config.mesh.tensor = 4
    config.mesh.search = "tensor"

    config.pretrained.vocab_size = 256_000
    config.model.num_layers = 42
    config.model.width = 3584
    config.model.num_heads = 16
    config.model.num_kv_heads = 8
    config.model.head_dim = 256
    config.model.mlp_width = 14336
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
    config.search.num_simulations = 32
    config.guess.max_tokens = 320
    config.guess.num_samples = 8

    config.warm_start.updates = 200
    config.improved.value_scale = 0.2
    config.learner.rows = 16
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
    config.run.batch_size = 64

    config.evaluation.problems = 512
    config.evaluation.batch_size = 32
    config.evaluation.num_candidates = 4
    config.evaluation.round_problems = 128
    config.evaluation.round_simulations = 16
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (16,)
    return config
