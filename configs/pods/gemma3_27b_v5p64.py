"""GSM8K from Gemma 3 27B on a TPU v5p-64 slice: 32 chips of 95 GB, each one device.

Trains all weights, in float32; computes in bfloat16.

    python -m expert_iter.train --distributed --config=configs/pods/gemma3_27b_v5p64.py \
        --workdir=gs://BUCKET/gemma3_27b_v5p64 --config.task.data_dir=DIR \
        --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published
google/gemma-3-27b-pt; both must exist on every host. The plan needs no weights,
because the shape below is that of their config.json:

    python -m expert_iter.plan --config=configs/pods/gemma3_27b_v5p64.py --device_gigabytes=95
    python -m expert_iter.plan --compile --topology=v5p:2x4x4 \
        --config=configs/pods/gemma3_27b_v5p64.py

The first is arithmetic. The second compiles all programs for TPUs that need not be there. They
print each phase's peak memory on one device, with prompts of up to 256 tokens; by arithmetic, by
the compiler, and what that leaves free:

    learning                38.8 GB  40.1 GB   58%
    search by mcts          55.3 GB  58.1 GB   39%
    evaluation by mcts      30.9 GB  33.5 GB   65%
    evaluation by samples   31.2 GB  31.4 GB   67%
    evaluation by greedy          –  29.2 GB   69%
    a round, at most       search 1.19 EFLOP, learning 266 PFLOP

By the chip's published peaks a round takes at least 0.053 hours.
Each device updates on 4 rows. The devices of one tensor axis share the search of 32 problems.

Not run: time and accuracy are unknown.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("gsm8k")
    config.mesh.data = 2
    config.mesh.fsdp = 2
    config.mesh.tensor = 8
    config.mesh.search = "tensor"

    config.pretrained.vocab_size = 262_208
    config.model.num_layers = 62
    config.model.width = 5376
    config.model.num_heads = 32
    config.model.num_kv_heads = 16
    config.model.head_dim = 128
    config.model.mlp_width = 21504
    config.model.sliding_window = 1024
    config.model.global_every = 6
    config.model.query_scale = 168.0
    config.model.rope_base = 1_000_000.0
    config.model.local_rope_base = 10_000.0
    config.model.rope_scaling = "linear"
    config.model.rope_factor = 8.0
    config.model.qk_norm = True
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
    config.run.batch_size = 128

    config.evaluation.problems = 512
    config.evaluation.batch_size = 64
    config.evaluation.num_candidates = 4
    config.evaluation.round_problems = 128
    config.evaluation.round_simulations = 16
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (16,)
    return config
