"""Tells what a config needs before a machine is rented: memory by part, and FLOPs.

    python -m expert_iter.plan --config=configs/pods/gemma2_2b_v5e8.py --device_gigabytes=16

It is arithmetic on shapes: no device is used, nothing is compiled. For each phase it says what lies
on one device, whether that fits, and if not, which setting by itself makes it fit.
"""

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_integer("devices", 0, "How many there will be; by default what the mesh needs.")
flags.DEFINE_float("device_gigabytes", 16.0, "Memory of one, in 10^9 bytes.", lower_bound=0.0)
flags.DEFINE_integer("prompt_tokens", 256, "Of the longest prompt.", lower_bound=1)


def main(config: ConfigDict) -> None:
    from expert_iter.config import fill_from_weights, settings

    fill_from_weights(config)
    checked = settings(config)

    import jax

    jax.config.update("jax_platforms", "cpu")  # where there are devices, others may need them
    from expert_iter.measure.plan.plan import needed_devices, plan, remedies
    from expert_iter.measure.plan.table import table

    f = flags.FLAGS
    devices = f.devices or needed_devices(checked)
    made, limit = plan(checked, devices, f.prompt_tokens), f.device_gigabytes * 1e9
    changes = {
        phase.name: remedies(checked, devices, f.prompt_tokens, phase.name, limit)
        for phase in made.phases
        if phase.bytes > limit
    }
    print(table(made, f.device_gigabytes, changes))


def run() -> None:
    cli.run(main, cli.FROM_FILE_ALONE)


if __name__ == "__main__":
    run()
