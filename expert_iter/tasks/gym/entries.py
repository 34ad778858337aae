"""Makes problems of reasoning-gym, in a process of their own.

reasoning-gym (Stojanovski et al. 2025, arXiv 2505.24760) makes each problem from a number, but some
of its data sets go through sets of strings, whose order differs from process to process. In this
one the order is fixed, so that all runs have the same problems.
"""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from expert_iter.errors import UserError
from expert_iter.tasks.gym.evaluated import is_safe
from expert_iter.tasks.near import near

LARGEST = 100_000  # problems of a split
# Each split leaves out the questions of those before it. So the test depends on no other size.
ORDER = ("test", "validation", "train")
_ROUNDS = 4  # a split is drawn again, with another seed, as long as it lacks problems
_OWN = ("seed", "size")  # settings of every data set that this module gives
_EXAMPLES = ("example_correct_answer", "example_answer", "possible_answer")  # in the metadata


class Entry(NamedTuple):
    """A problem.

    Attributes:
      question: its text.
      answer: a right answer; '' where none is known.
      pickled: the package's own record, a dict with the keys question, answer and metadata.
    """

    question: str
    answer: str
    pickled: bytes


def open_dataset(name: str, options: Mapping[str, Any], size: int = 1, seed: int = 0) -> Any:
    """A data set of reasoning-gym; `dataset[i]` depends on `seed + i`.

    Args:
      name: of the data set.
      options: settings that differ from its defaults.
      size: number of problems.
      seed: from 0 below 2**32.

    Raises:
      UserError: the package is missing, or there is no such data set or setting.
    """
    try:
        import reasoning_gym  # noqa: F401  (registers the data sets)
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise UserError(
            f"task reasoning_gym needs a package ({error}): pip install 'expert_iter[gym]'"
        ) from None
    known = sorted(set(DATASETS) - {"composite"})  # which mixes others
    if not name:
        raise UserError("task.dataset is not set: name one of reasoning-gym, such as chain_sum")
    if name not in known:
        raise UserError(f"reasoning-gym has no data set {name!r}{near(name, known)}")
    keys = [field.name for field in dataclasses.fields(DATASETS[name][1])]
    keys = [key for key in keys if key not in _OWN]
    for key in options:
        if key in _OWN:
            raise UserError(f"task.options sets {key!r}: use task.seed and task.train_size instead")
        if key not in keys:
            raise UserError(f"task.options: {name} has no setting {key!r}{near(key, keys)}")
    try:
        return create_dataset(name, **options, size=size, seed=seed)
    except Exception as error:  # of the data set's own checks, of many types
        raise UserError(f"task.options: {name} refuses them: {_reason(error)}") from None


def draw(
    name: str, options: Mapping[str, Any], seed: int, sizes: Mapping[str, int]
) -> dict[str, list[Entry]]:
    """Problems of some splits. No question is there twice.

    Problems whose known answer the scorer must not see are left out.

    Args:
      name, options: see `open_dataset`.
      seed: of the problems. No two splits or seeds share a problem's number.
      sizes: number of problems by split, for the first splits in `ORDER`.

    Raises:
      UserError: see `open_dataset`; or the data set has too few different problems, or fails.
    """
    seen: set[str] = set()
    found: dict[str, list[Entry]] = {}
    for number, (split, wanted) in enumerate(sizes.items()):
        entries = found[split] = []
        for again in range(_ROUNDS):
            start = ((seed * len(ORDER) + number) * _ROUNDS + again) * LARGEST
            dataset = open_dataset(name, options, wanted, start)
            for i in range(wanted):
                if len(entries) == wanted:
                    break
                entry = _made(dataset, i, name)
                # intermediate_integration answers some questions with the integral itself.
                if entry.question not in seen and is_safe(entry.answer, name):
                    seen.add(entry.question)
                    entries.append(entry)
        if len(entries) < wanted:
            raise UserError(
                f"task.{split}_size={wanted}, but {_ROUNDS * wanted} problems of {name} held only "
                f"{len(entries)} new ones: lower it, or ask for more variety in task.options"
            )
    return found


def draw_in_process(
    name: str, options: Mapping[str, Any], seed: int, sizes: Mapping[str, int]
) -> dict[str, list[Entry]]:
    """`draw` in a new process with a fixed order of strings. Raises UserError."""
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            input=pickle.dumps((name, dict(options), seed, dict(sizes))),
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
            cwd=folder,  # codeio runs programs, some of which write files
        )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        reason = last or f"exit code {done.returncode}"
        raise UserError(f"reasoning-gym could not make problems of {name}: {reason}")
    answer = pickle.loads(done.stdout)
    if isinstance(answer, UserError):
        raise answer
    return answer


def known_answer(entry: Mapping[str, Any]) -> str:
    """The right answer in a record of the package, else its example of one, else ''."""
    answers = [entry["answer"], *(entry["metadata"].get(key) for key in _EXAMPLES)]
    answer = next((answer for answer in answers if answer is not None), "")
    return (answer if isinstance(answer, str) else json.dumps(answer)).strip()


def _made(dataset: Any, i: int, name: str) -> Entry:
    try:
        entry = dataset[i]
    except Exception as error:  # of its generator, of many types
        raise UserError(f"reasoning-gym fails in problem {i} of {name}: {_reason(error)}") from None
    return Entry(entry["question"].strip(), known_answer(entry), pickle.dumps(entry))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """The new process: reads the arguments of `draw`, and writes its result or a UserError."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a data set may print
    try:
        answer = draw(*pickle.load(sys.stdin.buffer))
    except UserError as error:
        answer = error
    with out:
        pickle.dump(answer, out)
