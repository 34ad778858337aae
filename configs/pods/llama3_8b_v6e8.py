"""GSM8K from Llama 3.1 8B on a TPU v6e-8 slice: 8 chips of 32 GB.

Trains all weights, in float32; computes in bfloat16.

    python -m expert_iter.train --distributed --config=configs/pods/llama3_8b_v6e8.py \
        --workdir=gs://BUCKET/llama3_8b_v6e8 --config.task.data_dir=DIR \
        --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published
meta-llama/Llama-3.1-8B; both must exist on every host. The plan needs no weights,
because the shape below is that of their config.json:

    python -m expert_iter.plan --config=configs/pods/llama3_8b_v6e8.py --device_gigabytes=32
    python -m expert_iter.plan --compile --topology=v6e:2x4 \
        --config=configs/pods/llama3_8b_v6e8.py

The first is arithmetic. The second compiles all programs for TPUs that need not be there. They
print each phase's peak memory on one device, with prompts of up to 256 tokens; by arithmetic, by
the compiler, and what that leaves free:

    learning                23.8 GB  24.4 GB   24%
    search by mcts          25.6 GB  25.6 GB   20%
    evaluation by mcts      16.7 GB  16.7 GB   48%
    evaluation by samples   16.7 GB  17.4 GB   46%
    evaluation by greedy          –  16.6 GB   48%
    a round, at most       search 174 PFLOP, learning 39.5 PFLOP

By the chip's published peaks a round takes at least 0.11 hours.
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

    config.pretrained.vocab_size = 128_256
    config.model.num_layers = 32
    config.model.width = 4096
    config.model.num_heads = 32
    config.model.num_kv_heads = 8
    config.model.head_dim = 128
    config.model.mlp_width = 14336
    config.model.activation = "silu"
    config.model.rope_base = 500_000.0
    config.model.rope_scaling = "llama3"
    config.model.rope_factor = 8.0
    config.model.norm_epsilon = 1e-5
    config.model.norm_plus_one = False
    config.model.scale_embedding = False
    config.model.tie_embedding = False
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
