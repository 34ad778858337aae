import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from expert_iter.measure.report.page import page

CHROMIUM = shutil.which("chromium")
HOSTILE = (
    "</script><script>document.documentElement.dataset.hacked = 1</script><!-- <script> ]]> "
    "<img src=x onerror=document.documentElement.dataset.hacked=1> &lt;b&amp; "
    "\"' $data $style \\u003c \u2028 \x00 \ud800 é"
)
INTERVAL = {"accuracy": 0.5, "low": 0.4, "high": 0.625}
COSTS = {"tokens": 12.5, "prefill_tokens": 3, "flops": 3.5e7, "seconds": 6.25}


def node(text="3 + 5 = 8 ; left 8 7", visits=0, children=(), **known):
    defaults = {"prior": 0.25, "q": 0.5, "value": None, "finished": False, "verdict": None}
    fixed = {"text": text, "visits": visits, "chosen": False, "children": list(children)}
    return {**fixed, **defaults, **known}


def tree(root):
    answer = {"prompt": "3 5 7 -> 15", "answer": "15", "verdict": True, "expert": "mcts"}
    return {**answer, "budget": 8, "root": root}


def example():
    unit = {"unit": "tokens", "budget": 64}
    both = {"low": -0.25, "high": 0.125}
    bins = [{"low": 0, "high": 0.5, "count": 9, "mean": 0.2, "share": 0.3}]
    judged = {"count": 9, "base_rate": 0.3, "ece": 0.1, "brier": 0.2, "auc": 0.75}
    solution = {"text": "3 * 5 = 15", "verdict": False, "value": 0.75, "log_pi": -1.5}
    leaf = node("leaf", 2, finished=True, verdict=True, chosen=True)
    return {
        "title": "A run",
        "facts": [["parameters", 430_000], ["seed", None], ["device", "cpu"]],
        "rounds": [{"round": 0, "method": "greedy", "budget": 1, **INTERVAL}],
        "finals": [
            {"when": "after", "method": "mcts", "budget": 8, "problems": 256, **INTERVAL, **COSTS}
        ],
        "comparison": [
            {"expert": "mcts", "readout": "oracle", "seeds": 3, "problems": 256, **unit}
            | {**INTERVAL, **COSTS}
        ],
        "paired": [{"method": "a", "baseline": "b", "difference": -0.0625, **unit, **both}],
        "slopes": [{"method": "a", "unit": "flops", "slope": 6.25, **both}],
        "calibration": [{"position": "step 1", "bins": bins, **judged}],
        "samples": [{"prompt": "3 5 7 -> 15", **solution}],
        "trees": [tree(node("3 5 7 -> 15", 3, [node("dead end", 1), leaf]))],
    }


PARTS = [key for key in example() if key not in ("title", "facts")]


class Read(HTMLParser):
    """Elements of a page: how many of each tag, and what its scripts and styles hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.inline = Counter(), {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes.setdefault(tag, []).append(dict(attrs))
        if tag in ("script", "style", "title"):
            self.inline.append([tag, ""])

    def handle_data(self, text):
        if self.inline:
            self.inline[-1][1] += text

    def handle_endtag(self, tag):
        if tag in ("script", "style", "title"):
            self.inline.append([None, ""])

    def all(self, tag):
        return [text for name, text in self.inline if name == tag]


def embedded(text):
    """The data as a browser reads them from the page."""
    return json.loads(Read(text).all("script")[0])


def changed(value, change):
    """`value` with every leaf replaced by `change` of it, but for units."""
    if isinstance(value, dict):
        return {k: item if k == "unit" else changed(item, change) for k, item in value.items()}
    if isinstance(value, list):
        return [changed(item, change) for item in value]
    return change(value)


def spoil(value, text=HOSTILE):
    return changed(value, lambda leaf: text if isinstance(leaf, str) else leaf)


def test_the_data_come_back_as_they_went_in():
    assert embedded(page(example()))["data"] == example()
    assert embedded(page(spoil(example())))["data"] == spoil(example())


def test_hostile_texts_add_no_element_and_can_be_written_as_utf8():
    tame, hostile = Read(page(example())), Read(page(spoil(example())))
    assert hostile.tags == tame.tags and tame.tags["script"] == 2
    assert not set("<>&") & set(hostile.all("script")[0])
    assert "<script>" in hostile.all("title")[0] and "</script>" in hostile.all("title")[0]
    assert hostile.all("script")[1] == tame.all("script")[1]
    page(spoil(example())).encode("utf-8")


def test_the_page_refers_to_nothing_outside_itself():
    text = page({**example(), "facts": [["home", "https://example.org/"]]})
    frame = text.replace(Read(text).all("script")[0], "")
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|@import|url\(|\bsrc=", frame)
    assert "https://example.org/" in embedded(text)["data"]["facts"][0]
    links = [a["href"] for a in Read(text).attributes["a"]]
    assert links and all(link.startswith("#") for link in links)
    assert "link" not in Read(text).tags and "iframe" not in Read(text).tags


def test_the_policy_allows_this_script_and_style_alone():
    read = Read(page(example()))
    (policy,) = [a["content"] for a in read.attributes["meta"] if "http-equiv" in a]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for rule, text in (("script-src", read.all("script")[1]), ("style-src", read.all("style")[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_the_script_never_makes_markup_of_text():
    script = Read(page(example())).all("script")[1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)


@pytest.mark.parametrize("nothing", [None, []])
def test_parts_may_be_empty(nothing):
    data = {"title": "", "facts": nothing, **dict.fromkeys(PARTS, nothing)}
    assert embedded(page(data))["data"] == data
    for part in PARTS:
        page({**example(), part: nothing})


def test_commands_say_what_makes_a_part():
    data = {**example(), "trees": None}
    assert set(embedded(page(data))["commands"]) == {"rounds", "finals"}
    assert embedded(page(data, {"trees": "make trees"}))["commands"]["trees"] == "make trees"


def test_nan_and_infinities_are_missing_and_numpy_scalars_are_numbers():
    data = example()
    numbers = {"auc": np.float32("nan"), "ece": np.inf, "brier": -np.inf, "count": np.int64(7)}
    data["calibration"][0] |= {**numbers, "base_rate": np.float32(0.5), "bins": ()}
    data["samples"][0] |= {"verdict": np.True_, "value": float("nan")}
    shown = embedded(page(data))["data"]
    missing = {"auc": None, "ece": None, "brier": None}
    known = {"position": "step 1", "bins": [], "base_rate": 0.5, "count": 7}
    assert shown["calibration"][0] == {**known, **missing}
    assert shown["samples"][0]["verdict"] is True and shown["samples"][0]["value"] is None
    assert isinstance(shown["calibration"][0]["count"], int)


def test_methods_have_the_names_of_the_tables():
    assert embedded(page(example()))["labels"] == [
        ["greedy", 1, "greedy"],
        ["mcts", 8, "MCTS, 8 simulations"],
    ]


def test_what_json_cannot_hold_is_named():
    data = example()
    data["trees"][0]["answer"] = object()
    with pytest.raises(ValueError, match=r"trees\[0\]\.answer: cannot be shown: object"):
        page(data)


# --- In a browser, where there is one


def large_tree():
    """5,000 nodes: one has 2,000 children, one path is 60 levels deep; the chosen path is short."""
    deep = node("level 60", 1, finished=True, verdict=False)
    for level in range(59, 1, -1):
        deep = node(f"level {level}", 61 - level, [deep])
    wide = node("wide", 90, [node(f"twig {i}", i % 7) for i in range(2000)])
    chosen = node("chosen leaf", 30, finished=True, verdict=True, chosen=True)
    chosen = node("chosen step", 40, [node("rival", 35), chosen], chosen=True)
    rest = [node(f"bush {i}", 2, [node(f"leaf {i}", 1)]) for i in range((5000 - 2064) // 2)]
    return node("prompt", 5000, [deep, chosen, *rest, wide])


def count(root):
    return 1 + sum(map(count, root["children"]))


PROBE = """
addEventListener("load", () => {
  const seen = {};
  const all = (selector) => [...document.querySelectorAll(selector)];
  const tree = document.querySelector("[role=tree]");
  const note = (name) => {
    const current = document.getElementById(tree.getAttribute("aria-activedescendant"));
    seen[name] = { status: document.querySelector("[role=status]").textContent,
      steps: all("[role=treeitem] .step").map((step) => step.textContent),
      current: current && current.querySelector(".step").textContent,
      level: current && Number(current.getAttribute("aria-level")),
      expanded: current && current.getAttribute("aria-expanded") };
  };
  const press = (...keys) => { for (const key of keys) {
    tree.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); } };
  const click = (name) => all("button").find((one) => one.textContent === name).click();
  note("start");
  const wide = all("[role=treeitem]").find((row) => row.textContent.includes("wide"));
  seen.wide = { position: wide.ariaPosInSet, size: wide.ariaSetSize, label: wide.textContent };
  press("ArrowDown", "ArrowRight", "ArrowRight"); note("opened");
  press("ArrowLeft", "ArrowLeft"); note("closed");
  const before = performance.now();
  click("Expand all"); document.body.getBoundingClientRect();
  seen.milliseconds = performance.now() - before;
  note("all");
  press("End"); note("end");
  press("Home", "ArrowDown", "ArrowDown"); note("down");
  click("Show chosen path"); note("path");
  const least = document.querySelector("#trees input");
  least.value = 50; least.dispatchEvent(new Event("input")); note("least");
  seen.text = document.body.innerText;
  document.documentElement.dataset.probe = JSON.stringify(seen);
});
"""


def browse(text, folder):
    """What Chromium makes of the page, and the attributes of its <html>."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync".split()
    switches += ["disable-background-networking", "disable-component-update", "dump-dom"]
    command = [CHROMIUM, *(f"--{switch}" for switch in switches), "--window-size=1280,800"]
    command += [f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    read = Read(done.stdout)
    return read, read.attributes["html"][0]


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """What a script sees that reads and works the page, the first tree being the large one."""
    data = {**example(), "trees": [tree(large_tree()), *example()["trees"]]}
    text = re.sub("<meta http-equiv.*?>", "", page(data))  # it would not let the probe run
    text = text.replace("</body>", f'<script type="module">{PROBE}</script></body>')
    _, html = browse(text, tmp_path_factory.mktemp("browser"))
    assert "data-error" not in html
    return json.loads(html["data-probe"])


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


@needs_chromium
def test_the_browser_draws_hostile_texts_as_texts(tmp_path):
    text = HOSTILE.replace("\ud800", "")  # --dump-dom cannot print it
    read, html = browse(page(spoil(example(), text)), tmp_path)
    assert html["data-ready"] == "true" and "data-error" not in html
    assert "data-hacked" not in html and "img" not in read.tags
    assert read.tags["script"] == 2 and read.tags["svg"] > 5


@needs_chromium
@pytest.mark.parametrize("number", [None, 0, 1])
def test_the_browser_draws_whatever_the_numbers_are(number, tmp_path):
    data = changed(example(), lambda leaf: number if type(leaf) in (int, float) else leaf)
    read, html = browse(page(data), tmp_path)
    assert html["data-ready"] == "true" and "data-error" not in html
    shapes = ("line", "text", "path", "circle")
    drawn = [attributes for shape in shapes for attributes in read.attributes.get(shape, [])]
    assert not re.search("NaN|Infinity|undefined", str(drawn)) and len(drawn) > 20


@needs_chromium
def test_empty_parts_say_what_makes_them_or_are_left_out(tmp_path):
    data = {"title": "Nothing", "facts": None, **dict.fromkeys(PARTS)}
    read, html = browse(page(data, {"trees": "make trees"}), tmp_path)
    assert html["data-ready"] == "true"
    assert [one["id"] for one in read.attributes["section"]] == ["rounds", "finals", "trees"]
    assert read.tags["code"] == 3


@needs_chromium
def test_a_large_tree_is_drawn_a_window_at_a_time(probed):
    assert count(large_tree()) == 5000
    assert probed["all"]["status"] == "5,000 of 5,000 steps shown"
    assert 10 < len(probed["all"]["steps"]) < 100
    assert probed["milliseconds"] < 1000


@needs_chromium
def test_the_chosen_path_is_open_and_siblings_are_sorted_by_visits(probed):
    first = ["prompt", "wide", "level 2", "► chosen step", "rival", "► chosen leaf", "bush 0"]
    assert probed["start"]["steps"][:7] == first
    assert probed["start"]["status"] == f"{1 + 1471 + 2:,} of 5,000 steps shown"
    assert probed["wide"]["position"] == "1" and probed["wide"]["size"] == "1471"
    assert probed["wide"]["label"] == "wide prior 0.25 visits 90 Q 0.50 value –"
    assert probed["path"]["current"] == "► chosen leaf" and probed["path"]["level"] == 3


@needs_chromium
def test_the_tree_obeys_the_keyboard(probed):
    assert probed["opened"]["current"] == "twig 6" and probed["opened"]["level"] == 3
    assert probed["opened"]["status"] == "3,474 of 5,000 steps shown"
    closed = probed["closed"]
    assert (closed["current"], closed["expanded"], closed["level"]) == ("wide", "false", 2)
    assert probed["end"]["current"] == "leaf 1467" and probed["end"]["level"] == 3
    assert probed["down"]["current"] == "twig 6"


@needs_chromium
def test_few_visits_are_folded_but_never_the_chosen_path(probed):
    least = probed["least"]["steps"]
    shown = ["prompt", "wide", "level 2", "► chosen step", "► chosen leaf"]
    assert [step for step in least if "more with" not in step] == shown
    assert probed["least"]["status"] == "5 of 5,000 steps shown"
    assert "1 more with fewer than 50 visits" in probed["text"]
    assert "1,468 more with fewer than 50 visits" in probed["text"]
