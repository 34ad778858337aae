"""What a batch of searched trees teaches, as step trees: the objectives' lessons put together.

A prefix that several objectives need is one step with the columns of all of them, so it is stored
and computed once.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from expert_iter.learn.objectives.objective import Objective
from expert_iter.learn.solved import leading_to
from expert_iter.learn.step_tree import OBSERVED, Column, Origin, StepTree, StepTreeBuilder
from expert_iter.model.step_ends import StepEnds
from expert_iter.search.readout import step_observed, step_tokens
from expert_iter.search.self_play import Searched


def columns_of(objectives: Mapping[str, Objective]) -> tuple[Column, ...]:
    own = (column for objective in objectives.values() for column in objective.columns)
    return *own, Column(OBSERVED)


def step_trees(
    searched: Searched,
    prompts: Sequence[list[int]],
    steps: StepEnds,
    objectives: Mapping[str, Objective],
    rngs: Sequence[np.random.Generator],
) -> list[list[StepTree]]:
    """The step trees of each searched problem: its tree first, then texts made anew.

    Args:
      searched: trees are host arrays.
      prompts: tokens of the problems' prompts.
      rngs: one a problem.
    """
    lessons = [objective.lessons(searched, rngs) for objective in objectives.values()]
    of_prompts = [item for lesson in lessons for item in lesson.prompt.items()]
    of_candidates = [item for lesson in lessons for item in lesson.columns.items()]
    tree, taught = searched.trees, np.any([lesson.taught for lesson in lessons], axis=0)
    kept = leading_to(tree, taught) & tree.live[..., None]
    columns = columns_of(objectives)
    result = []
    for b, prompt in enumerate(prompts):
        origin = Origin(searched.problems[b].id, searched.round, searched.unit, searched.updates)
        builder, step_of_node = StepTreeBuilder(prompt, columns), {0: 0}
        for name, values in of_prompts:
            builder.give([0], name, float(values[b]))
        # A node's number is above its parent's, so the step that leads there is known.
        for node, k in zip(*np.nonzero(kept[b]), strict=True):
            text, observed = step_tokens(tree, b, node, k), step_observed(tree, b, node, k)
            path = builder.add_text(step_of_node[node], text, steps, observed)
            for name, values in of_candidates:
                builder.give(path, name, float(values[b, node, k]))
            if tree.child[b, node, k] >= 0:
                step_of_node[tree.child[b, node, k]] = path[-1]
        made = [
            dataclasses.replace(tree, origin=origin)
            for lesson in lessons
            for tree in lesson.texts.get(b, ())
        ]
        result.append([builder.build(origin), *made])
    return result
