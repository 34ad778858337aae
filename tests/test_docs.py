"""The pages say what is there: links, commands, settings, names, and pages that are generated."""

import importlib.util
import json
import re
import runpy
from pathlib import Path

import pytest

from expert_iter.config import default_config
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.search.experts import EXPERTS
from expert_iter.tasks import TASKS

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
GENERATED = {"results.md": "benchmarks/results.py", "settings.md": "docs/settings.py"}
OWN = {"unlikelihood"}  # the section of the objective in docs/examples
NOT_SETTINGS = {"tokenizer.model", "tokenizer.json", "search.experts"}  # files, and a module
RENAMED = {"expert_iter.tasks.words.contamination"}  # the changelog says what it is called now


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=named)
def page(request):
    return request.param


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_modules_and_files_that_are_named_exist(page):
    text = page.read_text()
    for module in set(re.findall(r"python -m (expert_iter[\w.]*)", text)) - RENAMED:
        assert importlib.util.find_spec(module), module
    for path in set(re.findall(r"(?:launch|configs|docs|benchmarks|tests)/[\w./]+\.\w+", text)):
        assert (ROOT / path).exists() or (ROOT / "expert_iter" / path).exists(), path


def test_flags_that_are_named_exist(page):
    for command, rest in re.findall(
        r"python -m expert_iter\.(\w+)((?:[^\n]|\\\n)*)", page.read_text()
    ):
        package = ROOT / "expert_iter" / command
        source = package.with_suffix(".py") if not package.is_dir() else package / "__main__.py"
        source = source.read_text()
        defined = set(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source))
        for flag in re.findall(r"--(\w+)(?![\w.-])", rest.partition("`")[0]):
            assert flag in defined | {"config", "workdir"}, f"{command} --{flag}"


def test_settings_that_are_named_exist(page):
    known = {
        f"{section}.{key}"
        for task in TASKS
        for section, keys in default_config(task).to_dict().items()
        if isinstance(keys, dict)
        for key in keys
    }
    sections = {setting.partition(".")[0] for setting in known}
    text = page.read_text()
    given = re.findall(r"--config\.([a-z_]+\.\w+)=", text)
    if page.name != "CHANGELOG.md":  # which names old settings, too
        quoted = re.findall(r"`(\w+\.\w+)(?:=[^`]*)?`", text)
        given += [name for name in quoted if name.partition(".")[0] in sections]
    own = {name for name in given if name.partition(".")[0] in OWN}
    assert set(given) - own - NOT_SETTINGS <= known


@pytest.mark.parametrize(
    ("name", "table"), [("experts", EXPERTS), ("objectives", OBJECTIVES), ("tasks", TASKS)]
)
def test_each_page_has_a_row_for_each_name(name, table):
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / f"{name}.md").read_text(), re.MULTILINE)
    assert set(table) <= set(re.findall(r"`(\w+)`", " ".join(rows)))


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_not_stale(name):
    command = GENERATED[name]
    written = runpy.run_path(str(ROOT / command))["page"]()
    assert (ROOT / "docs" / name).read_text() == written, f"run python {command}"


def test_each_setting_says_what_it_means():
    rows = re.findall(r"^\| `(\w+)` \|.*$", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    blank = re.findall(r"^\| `(\w+)` \|.*\|  \|$", (ROOT / "docs/settings.md").read_text(), re.M)
    assert len(rows) > 100
    assert blank == []


def test_rows_of_results_have_a_cell_for_each_column():
    for path in (ROOT / "benchmarks/results").glob("*.json"):
        for table in json.loads(path.read_text()).get("tables", ()):
            for row in table["rows"]:
                assert len(row) == len(table["columns"]), f"{path.name}: {row[0]}"
