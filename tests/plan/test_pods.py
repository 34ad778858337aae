"""The configs of pods: what the TPU's compiler said of them, the plan, and their docstrings."""

import json
import runpy

import pytest

from tests.forks import ROOT

PLANS = runpy.run_path(str(ROOT / "benchmarks/plans.py"))
PODS = tuple(PLANS["TOPOLOGIES"])


def test_every_pod_has_a_topology():
    assert {path.stem for path in (ROOT / "configs/pods").glob("*.py")} == set(PODS)


def test_the_table_of_results_is_fresh():
    written = json.loads(PLANS["RECORD"].read_text())
    assert written == PLANS["record"](), "run python benchmarks/plans.py"


@pytest.mark.parametrize("name", PODS)
def test_docstrings_say_what_was_found(name):
    text = PLANS["config_path"](name).read_text()
    assert PLANS["documented"](name, text) == text, "run python benchmarks/plans.py"
    assert f"--compile --topology={PLANS['TOPOLOGIES'][name]}" in text


@pytest.mark.parametrize("name", PODS)
def test_every_program_fits_with_a_tenth_to_spare(name):
    rows = PLANS["rows"](name)
    assert [row.phase for row in rows if row.compiled > 0.9 * row.limit] == []


@pytest.mark.parametrize("name", PODS)
def test_the_compiler_finds_what_the_plan_prints(name):
    for row in PLANS["rows"](name):
        if row.planned and row.compiled:
            assert 0.95 * row.planned.bytes <= row.compiled <= row.planned.most, row
