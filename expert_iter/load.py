"""A run as other commands need it: its parts, and the parameters in one of its checkpoints."""

from pathlib import Path

from etils import epath

from expert_iter.assembly import Parts, assemble
from expert_iter.config import of_workdir, settings
from expert_iter.errors import UserError
from expert_iter.model import adapters
from expert_iter.pod.mesh import put
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.checkpoints import Checkpoints, Restored


def load(workdir: str | Path, checkpoint: str = "last") -> tuple[Parts, dict]:
    """The parts of the run in `workdir` (task, tokenizer, network, experts), and its parameters.

    Args:
      checkpoint: as in `read_checkpoint`.

    Raises:
      UserError: there is no run, or no such checkpoint.
    """
    parts = assemble(settings(of_workdir(workdir)), workdir)
    return parts, load_params(workdir, parts, checkpoint)


def load_params(workdir: str | Path, parts: Parts, checkpoint: str = "last") -> dict:
    """The parameters in one of a run's checkpoints (see `read_checkpoint`), put to search with."""
    return put_params(read_checkpoint(workdir, checkpoint), parts)


def trained_params(workdir: str | Path, checkpoint: str = "last") -> dict:
    """Those of them that training changes: all, unless adapters are trained in their place."""
    return read_checkpoint(workdir, checkpoint).arrays["params"]


def read_checkpoint(workdir: str | Path, checkpoint: str = "last") -> Restored:
    """One of a run's checkpoints, of its arrays only the parameters that training changes.

    checkpoint: "last", the newest good one; "best", by tree search on validation problems; or its
    position, in digits.

    Raises:
      UserError: there is no such checkpoint, or it is damaged.
    """
    checkpoints = Checkpoints(epath.Path(workdir) / workdir_lib.CHECKPOINTS)
    position = None
    if checkpoint == "best":
        position = _best_position(checkpoints)
    elif checkpoint.isdecimal():
        position = int(checkpoint)
    elif checkpoint != "last":
        raise UserError(
            f"--checkpoint takes last, best or a position, not '{checkpoint}'; "
            f"{workdir} has the positions: {checkpoints.listed()}"
        )
    restored = checkpoints.restore(position, only="params")
    if restored is None:
        raise UserError(
            f"{workdir} holds no checkpoint yet; train first, or wait for the first save"
        )
    return restored


def put_params(saved: Restored, parts: Parts) -> dict:
    """All of the network's parameters, on the devices as searches need them."""
    params = adapters.join(saved.arrays["params"], parts.frozen_params())
    return put(params, parts.layout.searching(params))


def describe(saved: Restored) -> str:
    """A few words for people: `checkpoint 57, last checked after round 3`."""
    checked = [row["round"] for row in saved.meta["results"] if row["when"] == "round"]
    after = f", last checked after round {checked[-1]}" if checked else ""
    return f"checkpoint {saved.position}{after}"


def _best_position(checkpoints: Checkpoints) -> int | None:
    """None where no checkpoint can tell."""
    meta = checkpoints.newest_meta()
    if meta is None:
        return None
    if not meta.get("best"):
        raise UserError(
            "--checkpoint=best: no best one is recorded (no check on validation has ended, "
            "or an older version made the run); name last or a position, there are: "
            f"{checkpoints.listed()}"
        )
    return meta["best"]["save"]
