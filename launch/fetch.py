"""Fetches the published SVAMP.json, checked by its SHA-256.

    .venv/bin/python launch/fetch.py DIR

Does nothing where DIR has it. SVAMP_URL names another place to get it from. Ends with code 1 and
one line where it cannot be had.
"""

import hashlib
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from expert_iter.tasks.words.published_files import SVAMP, Published

SECONDS = 20  # without a byte
MOST_BYTES = 10**8


def url_of(file: Published) -> str:
    """Where GitHub has it."""
    repository, path = file.source.split(", ")
    return f"https://raw.githubusercontent.com/{repository}/main/{path}"


def fetch(file: Published, url: str, folder: Path) -> Path:
    """The path of the file in `folder`. Raises OSError where it cannot be had, ValueError where
    what came is another file.
    """
    path = folder / file.name
    if path.is_file() and _sum(path.read_bytes()) == file.sha256:
        return path
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        content = answer.read(MOST_BYTES)
    if _sum(content) != file.sha256:
        raise ValueError("it is not the published file, for its SHA-256 differs")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)
    return path


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(folder: str) -> int:
    url = os.environ.get("SVAMP_URL") or url_of(SVAMP)
    try:
        fetch(SVAMP, url, Path(folder))
    except (OSError, ValueError) as error:
        print(f"{SVAMP.name} could not be fetched from {url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
