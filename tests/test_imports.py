"""Imports of the package run one way: each room uses rooms below it alone."""

import ast
from pathlib import Path

import expert_iter

ROOT = Path(expert_iter.__file__).parent
# From the bottom up. Rooms of one line do not know each other.
FLOORS = (
    {"errors"},
    {"range_checks", "extensions", "renamed"},
    {"overrides", "model", "tasks"},
    {"pod"},
    {"storage"},
    {"search"},
    {"learn", "measure"},
    {"config"},
    {"assembly", "cli"},
    {"run", "load"},
    {"loop", "plan"},
    {
        "train",
        "evaluate",
        "solve",
        "report",
        "export",
        "import_gguf",
        "trees",
        "verify",
        "contamination",
    },
)


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def used(path):
    """The rooms that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            top, _, rest = node.module.partition(".")
            if top == "expert_iter":
                yield from [rest.split(".")[0]] if rest else [name.name for name in node.names]
        elif isinstance(node, ast.Import):
            yield from (
                n.name.split(".")[1] for n in node.names if n.name.startswith("expert_iter.")
            )


def test_rooms_import_only_what_is_below_them():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    files = [path for path in ROOT.rglob("*.py") if room(path) != "__init__"]
    assert {room(path) for path in files} == set(floor)
    against = {
        (str(path.relative_to(ROOT)), name)
        for path in files
        for name in used(path)
        if name != room(path) and floor[name] >= floor[room(path)]
    }
    assert not against


def test_no_file_is_longer_than_a_reader_holds():
    sizes = {str(p.relative_to(ROOT)): p.read_text().count("\n") for p in ROOT.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 350} == {}
