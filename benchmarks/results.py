"""Writes docs/results.md from the measurements in benchmarks/results/.

    python benchmarks/results.py

One JSON file an experiment, in the order of the files' names. Its keys, of which all but `title`
and `what` may be left out:

  title, what: the experiment in a few words, and what was measured on what.
  config: the config file.
  command: prints the figures.
  commit, date: of the measurement (the commit that recorded it).
  machine: what it ran on.
  tables: `{"caption": ..., "columns": [...], "rows": [[...], ...]}` each; all cells are strings.
  figures: `[file in docs/, caption]` each.
  findings, caveats: sentences.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
PREAMBLE = """# Results

<!-- Written by `python benchmarks/results.py` from benchmarks/results/. Edit those files. -->

All figures come from CPUs. Nothing was measured on a GPU or TPU. Intervals are 95% bootstrap
intervals over problems, after averaging over seeds; they say nothing about other training seeds.
MCTS@8 is MCTS with eight simulations.
"""
_NUMBER = re.compile(r"^[*+−-]*\d")


def page() -> str:
    """The Markdown of all experiments, with a table of contents."""
    records = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]
    contents = "\n".join(
        f"- [{record['title']}](#{_anchor(record['title'])})" for record in records
    )
    return "\n".join([PREAMBLE, contents, "", *map(section, records)])


def section(record: dict) -> str:
    """The Markdown of one experiment."""
    blocks = [f"## {record['title']}", record["what"]]
    if "command" in record:
        blocks.append(f"```bash\n{record['command']}\n```")
    facts = [f"{key.capitalize()}: {record[key]}." for key in ("machine", "date") if key in record]
    for key in ("config", "commit"):
        if key in record:
            facts.append(f"{key.capitalize()}: `{record[key]}`.")
    if facts:
        blocks.append(" ".join(facts))
    for table in record.get("tables", ()):
        blocks += [table["caption"]] * bool(table["caption"])
        blocks.append(markdown(table["columns"], table["rows"]))
    blocks += [f"![{caption}]({file})" for file, caption in record.get("figures", ())]
    for key in ("findings", "caveats"):
        if key in record:
            listed = "\n".join(f"- {sentence}" for sentence in record[key])
            blocks.append(f"**{key.capitalize()}**\n\n{listed}")
    return "\n\n".join(blocks) + "\n"


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers are aligned to the right."""
    numeric = [all(_NUMBER.match(cell) for cell in column) for column in zip(*rows, strict=True)]
    rule = ["--:" if is_numeric else ":--" for is_numeric in numeric]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def _anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)} is written")
