"""Reads the JSON files of a published checkpoint."""

import json
from pathlib import Path

from expert_iter.errors import UserError


def read_json(path: Path) -> dict:
    """The object that a file holds. Raises UserError if it cannot be read, or holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it must hold a JSON object")
    return content
