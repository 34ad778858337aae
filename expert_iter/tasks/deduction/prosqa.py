"""ProsQA: which of two concepts is it? (Hao et al. 2024, arXiv 2412.06769)."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from expert_iter.tasks.deduction.deduction_task import DeductionConfig, DeductionTask
from expert_iter.tasks.deduction.is_a import CONCEPTS, IsA
from expert_iter.tasks.deduction.theory import Literal
from expert_iter.tasks.task import Problem
from expert_iter.tasks.words.published_files import Published
from expert_iter.tasks.words.rows import text_field

_NAMES = (
    "Alex Bob Carol Davis Eva Fae Gabriel Jack Max Oliver Polly Rex Sally Sam Stella Tom Wren"
).split()
# Of the graphs, as in the published problems.
_NODES = 19, 27
_NAMED = 0.03  # share of further nodes that are names
_MORE_PARENTS = 0.75  # mean number of parents beside the first
_ONE_SIDE = 0.35  # share of nodes below the one name alone, and below the other alone
_COMMON_HOPS = 6  # up to which graphs have so few nodes

_SOURCE = "facebookresearch/coconut, data/"


class ProsqaLanguage(IsA):
    """Facts and rules, then a question with two options, of which one follows."""

    an = False
    question = re.compile(r"Is ([A-Z]\w*) a (\w+) or (\w+)\?")
    example = (
        "Every lempus is a yerpus. Tom is a lempus. Bob is a zumpus. Is Tom a zumpus or yerpus?"
    )

    def answers(self, *asked: str) -> dict[str, Literal | None]:
        subject, *options = asked
        literals = [Literal(subject, self.concept(option)) for option in options]
        return {self.sentence(literal): literal for literal in literals}

    def symbols(self) -> list[str]:
        # "." alone, because SentencePiece does not count the newline at the end of a text.
        marks = ["Every ", "Is ", " is a ", " a ", " or ", ". ", ".\n", ".", "?\n"]
        return [*CONCEPTS, *_NAMES, *marks]


@dataclasses.dataclass(frozen=True)
class ProsqaConfig(DeductionConfig):
    """The settings of ProsQA.

    Attributes:
      min_hops, max_hops: range of the length of the shortest path from the name to the answer, ends
        included, in problems that are made. The first hop is a fact, so a proof has one step less.
    """

    min_hops: int = 3
    max_hops: int = 6

    fewest_hops = 2


class Graph(NamedTuple):
    """A graph of names and concepts. Node 0 is the name that is asked about.

    Attributes:
      parents: of each node, all with smaller numbers; empty for names.
      right: the node that is the right answer: a leaf below node 0, and not below node 1.
      wrong: a leaf below node 1, and not below node 0.
    """

    parents: list[list[int]]
    right: int
    wrong: int


class Prosqa(DeductionTask):
    """Graphs in which one of two concepts follows; the answer is the last fact derived.

    The published problems, of 3 to 6 hops, are the validation and the test problems.
    """

    name = "prosqa"
    language = ProsqaLanguage()
    published = {
        "validation": Published(
            "prosqa_valid.json",
            300,
            "c74e0de24f1e90ec48b1a993e6458a7be4caeef3928f5104e3c2e45d689a5249",
            f"{_SOURCE}prosqa_valid.json",
        ),
        "test": Published(
            "prosqa_test.json",
            500,
            "82ddc0afe6ee30eb31bb16fa208e293e55278a20fa987098d48519cae7e12680",
            f"{_SOURCE}prosqa_test.json",
        ),
    }

    def problem_of(self, record: Mapping[str, Any], id: str) -> Problem:
        """Reads `question` and `answer`. Raises ValueError for an invalid record."""
        problem = self._problem(self.language.prompt(text_field(record, "question")), id)
        if record.get("answer") != problem.answer:
            raise ValueError(f"`answer` is not {problem.answer!r}, which follows from the rules")
        return problem

    def draw(self, rng: np.random.Generator, hops: int) -> str | None:
        graph = random_graph(rng, hops)
        if graph is None:
            return None
        concepts, names = iter(rng.permutation(CONCEPTS)), iter(rng.permutation(_NAMES))
        words = [next(concepts if parents else names) for parents in graph.parents]
        edges = [(parent, node) for node, found in enumerate(graph.parents) for parent in found]
        sentences = [
            f"{'Every ' if graph.parents[parent] else ''}{words[parent]} is a {words[node]}."
            for parent, node in rng.permutation(edges)
        ]
        first, second = rng.permutation([words[graph.right], words[graph.wrong]])
        return " ".join([*sentences, f"Is {words[0]} a {first} or {second}?"])


def random_graph(rng: np.random.Generator, hops: int) -> Graph | None:
    """Grows a graph node by node, around a shortest path of `hops` edges.

    Deep nodes get more children, and many nodes are below one name alone, as the paper says of its
    graphs.

    Returns:
      The graph; None if no leaf can be the wrong answer.
    """
    longer = 2 * max(0, hops - _COMMON_HOPS)
    size = int(rng.integers(_NODES[0], _NODES[1] + 1)) + longer
    path = [0, *sorted((rng.permutation(size - 2)[:hops] + 2).tolist())]
    right = path[-1]
    parents: list[list[int]] = [[], []]
    sides = [{0}, {1}]  # below which of nodes 0 and 1 a node is, itself included
    far = [0, size]  # hops from node 0; `size` where it is not below it
    depth = [0, 0]
    for node in range(2, size):
        more, allowed = int(rng.poisson(_MORE_PARENTS)), set(range(node)) - {right}
        if node in path:
            hop = path.index(node)
            found = [path[hop - 1]]
            # No way to the right answer may be shorter, or begin at the other name.
            allowed = {v for v in allowed if 1 not in sides[v] and far[v] >= hop - 1} - {found[0]}
        elif rng.random() < _NAMED:
            found, more = [], 0
        else:
            found, more = [], 1 + more
            side = int(rng.random() / _ONE_SIDE)  # 0 or 1: not below the other; 2: below any
            if side < 2:
                allowed = {v for v in allowed if 1 - side not in sides[v]}
        weights = np.array([1 + 1.5 * depth[v] for v in sorted(allowed)])
        more = min(more, len(allowed))
        if more:
            found += rng.choice(sorted(allowed), more, False, weights / weights.sum()).tolist()
        parents.append(found)
        sides.append(set().union(*(sides[v] for v in found)))
        far.append(min([size - 1, *(far[v] for v in found)]) + 1)
        depth.append(max([-1, *(depth[v] for v in found)]) + 1)
    inner = {v for found in parents for v in found}
    wrong = [v for v in range(2, size) if v not in inner and sides[v] == {1}]
    return Graph(parents, right, wrong[rng.integers(len(wrong))]) if wrong else None
