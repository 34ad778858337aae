"""Loads a trained run: its parts, and the parameters of one of its checkpoints."""

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
    """The parts of a run (task, tokenizer, network, experts), and its parameters on the devices.

    Args:
      checkpoint: as in `read_checkpoint`.

    Raises:
      UserError: there is no run, or no such checkpoint.
    """
    parts = assemble(settings(of_workdir(workdir)), workdir)
    return parts, load_params(workdir, parts, checkpoint)


def load_params(workdir: str | Path, parts: Parts, checkpoint: str = "last") -> dict:
    """All parameters of a checkpoint (see `read_checkpoint`), on the devices for search."""
    return put_params(read_checkpoint(workdir, checkpoint), parts)


def trained_params(workdir: str | Path, checkpoint: str = "last") -> dict:
    """The trained parameters of a checkpoint: the adapters if there are any, else all of them."""
    return read_checkpoint(workdir, checkpoint).arrays["params"]


def read_checkpoint(workdir: str | Path, checkpoint: str = "last") -> Restored:
    """Reads the trained parameters and the metadata of one checkpoint.

    Args:
      checkpoint: "last", the newest undamaged one; "best", by the expert on validation problems;
        or a position, in digits.

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
            f"positions in {workdir}: {checkpoints.listed()}"
        )
    restored = checkpoints.restore(position, only="params")
    if restored is None:
        raise UserError(f"{workdir} has no checkpoint yet; train first, or wait for the first save")
    return restored


def put_params(saved: Restored, parts: Parts) -> dict:
    """Joins the trained and the frozen parameters, on the devices for search."""
    params = adapters.join(saved.arrays["params"], parts.frozen_params())
    return put(params, parts.layout.searching(params))


def describe(saved: Restored) -> str:
    """As in `checkpoint 57, last evaluated after round 3`."""
    rounds = [row["round"] for row in saved.meta["results"] if row["when"] == "round"]
    after = f", last evaluated after round {rounds[-1]}" if rounds else ""
    return f"checkpoint {saved.position}{after}"


def _best_position(checkpoints: Checkpoints) -> int | None:
    """The position of the best checkpoint; None if the run has no checkpoint."""
    meta = checkpoints.newest_meta()
    if meta is None:
        return None
    if not meta.get("best"):
        raise UserError(
            "--checkpoint=best: the run records no best one (no evaluation on validation problems "
            "has ended yet, or an older version made the run); use last or a position: "
            f"{checkpoints.listed()}"
        )
    return meta["best"]["save"]
