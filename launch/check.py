"""Says in one line whether expert_iter imports and what JAX finds on this host.

    .venv/bin/python launch/check.py tpu|cuda12|cuda13

Exits with code 2 if something does not import. A host without the accelerator gets a warning and
code 0: a login node has none, and the TPU's compiler needs none.
"""

import os
import sys

# One chip alone. Otherwise a host of a pod waits until all other hosts start their TPUs as well.
ONE_CHIP = {
    "TPU_VISIBLE_CHIPS": "0",
    "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
    "TPU_PROCESS_BOUNDS": "1,1,1",
}
NAMES = {"tpu": "TPU", "cuda": "NVIDIA GPU"}


def devices_here(platform: str) -> str:
    """Number and kind of this host's devices. Raises RuntimeError with the reason."""
    import jax
    from jax._src import hardware_utils  # JAX has no public name for it

    chips, _ = hardware_utils.num_available_tpu_chips_and_device_id()
    there = {"tpu": chips > 0, "cuda": hardware_utils.has_visible_nvidia_gpu()}
    if not there[platform]:
        others = [NAMES[other] for other, is_there in there.items() if is_there]
        raise RuntimeError(f"this host has {f'{others[0]}s instead' if others else 'none'}")
    jax.config.update("jax_platforms", platform)  # so that JAX does not turn to the CPU silently
    devices = jax.devices()
    return f"{chips if platform == 'tpu' else len(devices)} × {devices[0].device_kind}"


def main(accelerator: str) -> int:
    platform = accelerator.rstrip("0123456789")
    if platform == "tpu":
        os.environ.update(ONE_CHIP)  # before JAX is imported
    try:
        from expert_iter import cli

        cli.quiet()
        import jax

        import expert_iter.loop  # noqa: F401 (imports all that a run does)
    except ImportError as error:
        print(f"error: expert_iter is installed, but does not import: {error}", file=sys.stderr)
        return 2
    try:
        found = devices_here(platform)
    except Exception as error:  # RuntimeError, and AssertionError where JAX's plugin is missing
        reason = " ".join(str(error).split())[:200] or f"{type(error).__name__} in JAX"
        print(
            f"warning: expert_iter is installed for {accelerator}, but JAX can use no "
            f"{NAMES[platform]} here: {reason}",
            file=sys.stderr,
        )
        return 0
    print(f"expert_iter imports; JAX {jax.__version__} finds {found} on this host")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
