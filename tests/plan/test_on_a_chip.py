"""What a run is made of compiles for TPUs that are not there: every expert, objective and
evaluation at least once, and one of each kind on each chip.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.search.experts import EXPERTS
from tests.forks import ROOT
from tests.plan.on_a_chip import SELF_PLAY

CHIPS = "v5e:2x2", "v5p:2x2x1", "v6e:2x2"
EVALUATIONS = "greedy", "samples", "mcts"
OTHERS = [expert for expert in EXPERTS if expert not in EVALUATIONS]
SHARES = {chip: (*EVALUATIONS, *OTHERS[number :: len(CHIPS)]) for number, chip in enumerate(CHIPS)}


def test_every_expert_has_a_chip():
    assert {expert for experts in SHARES.values() for expert in experts} == set(EXPERTS)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu, TPU's compiler, is not installed")
@pytest.mark.parametrize("chip", CHIPS)
def test_a_run_compiles_for_the_chip(chip):
    # In a process of its own, whose environment the compiler needs.
    command = sys.executable, "-m", "tests.plan.on_a_chip", chip, *SHARES[chip]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert set(done.stdout.splitlines()) == {
        *(f"objective {objective}" for objective in OBJECTIVES),
        *(f"expert {expert}" for expert in SHARES[chip]),
        *(f"self-play {expert}" for expert in SELF_PLAY if expert in SHARES[chip]),
    }
