"""Computes the memory and FLOPs that a config needs, before you rent a machine.

    python -m expert_iter.plan --config=configs/pods/gemma2_2b_v5e8.py --device_gigabytes=16

It is arithmetic on shapes: it uses no device and compiles nothing. For each phase it prints the
memory on one device by part, whether it fits, and if not, single settings that make it fit.
"""

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_integer("devices", 0, "Number of devices; by default what the mesh needs.")
flags.DEFINE_float(
    "device_gigabytes", 16.0, "Memory of one device, in 10^9 bytes.", lower_bound=0.0
)
flags.DEFINE_integer("prompt_tokens", 256, "Length of the longest prompt.", lower_bound=1)


def main(config: ConfigDict) -> None:
    from expert_iter.config import fill_from_weights, settings

    fill_from_weights(config)
    checked = settings(config)

    import jax

    jax.config.update("jax_platforms", "cpu")  # leave accelerators to other processes
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
