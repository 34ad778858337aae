"""A workdir: the directory of one run, which the other commands read.

config.json       the run's settings
tokenizer.model   a SentencePiece tokenizer, or tokenizer.json: byte-level BPE
checkpoints/      see checkpoints.py
trees/            see tree_store.py
metrics.jsonl     see metrics.py
tensorboard/      the same metrics for TensorBoard
summary.json      the final table; exists once the run is finished
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from expert_iter.errors import UserError
from expert_iter.storage.files import is_local, write_atomic

CONFIG = "config.json"
TOKENIZERS = "tokenizer.model", "tokenizer.json"
CHECKPOINTS = "checkpoints"
TREES = "trees"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
SUMMARY = "summary.json"

_ABSENT = object()  # the value of a key that one of two configs lacks
_SHOWN = 5  # differing keys in one error line


def write_config(workdir: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Writes the settings, and makes the workdir if it does not exist.

    Args:
      config: nested settings with JSON values; tuples become lists.

    Raises:
      UserError: a file has the workdir's name.
    """
    try:
        epath.Path(workdir).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"workdir '{workdir}' cannot be made: a file has that name; give another --workdir"
        ) from None
    write_atomic(epath.Path(workdir) / CONFIG, json.dumps(config, indent=2) + "\n")


def read_config(workdir: str | os.PathLike) -> dict[str, Any]:
    """Reads the settings of a workdir.

    Raises:
      UserError: the workdir does not exist, or its config is missing or damaged.
    """
    path = epath.Path(workdir) / CONFIG
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        what = (
            "holds no training run (no config.json)" if path.parent.exists() else "does not exist"
        )
        raise UserError(
            f"workdir '{workdir}' {what}; make one with python -m expert_iter.train "
            f"--config=configs/countdown.py --workdir={workdir}"
        ) from None
    except ValueError as error:  # not JSON, or not text
        raise UserError(f"{path} is damaged ({error}); restore it or use another workdir") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged (no settings in it); restore it or use another workdir")
    return config


def claim(
    workdir: str | os.PathLike,
    config: Mapping[str, Any],
    may_differ: Sequence[str] = (),
    complete: Callable[[dict], dict] = lambda old: old,
) -> None:
    """Stores the settings in a new workdir, or checks that they are those of an existing one.

    Args:
      config: nested settings with JSON values.
      may_differ: dotted keys, or sections, that may change when a run resumes. The workdir then
        stores the new values.
      complete: adds the keys that did not exist yet when the workdir was made.

    Raises:
      UserError: the workdir was made with other settings. Nothing is overwritten.
    """
    if not (epath.Path(workdir) / CONFIG).exists():
        if (epath.Path(workdir) / CHECKPOINTS).exists():
            raise UserError(
                f"workdir '{workdir}' has checkpoints but no {CONFIG}; restore that file or "
                "give another --workdir"
            )
        return write_config(workdir, config)

    old = _flatten(json.loads(json.dumps(complete(read_config(workdir)))))
    new = _flatten(json.loads(json.dumps(config)))
    keys = [key for key in old | new if old.get(key, _ABSENT) != new.get(key, _ABSENT)]
    allowed = tuple(f"{section}." for section in may_differ)
    forbidden = [key for key in keys if not f"{key}.".startswith(allowed)]
    if forbidden:
        shown = [f"{key} was {_show(old, key)}, is now {_show(new, key)}" for key in forbidden]
        if len(shown) > _SHOWN:
            shown[_SHOWN:] = [f"and {len(shown) - _SHOWN} more"]
        raise UserError(
            f"workdir '{workdir}' was made with another config: {'; '.join(shown)}. "
            "Give another --workdir, or the old settings"
        )
    if keys:
        write_config(workdir, config)


@contextlib.contextmanager
def lock(workdir: str | os.PathLike) -> Iterator[None]:
    """Locks the workdir for writing. The system releases the lock however the process ends.

    Raises:
      UserError: another process has the lock.
    """
    if not is_local(workdir):  # object stores have no locks
        yield
        return
    os.makedirs(workdir, exist_ok=True)
    with open(Path(workdir, ".lock"), "a+") as file:
        try:
            # lockf and not flock: a forked worker would inherit a flock, and could outlive a killed
            # training.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise UserError(
                f"workdir '{workdir}' is being written by another training (process "
                f"{file.read().strip() or 'unknown'}); wait for it or give another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _show(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "absent"
