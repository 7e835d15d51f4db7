"""The labels of the JAX corpus: they fit its files, and what was measured proves them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.corpus.outcomes import MARGIN, SEEDS, beats, run

JAX = Path(__file__).parent / "jax"
CASES = json.loads((JAX / "cases.json").read_text("utf-8"))
HEALTHY = json.loads((JAX / "healthy.json").read_text("utf-8"))


def test_every_program_is_labelled_and_every_label_has_its_programs():
    assert {c["file"] for c in CASES} == {p.name for p in (JAX / "faulty").glob("*.py")}
    assert {c["file"] for c in CASES} == {p.name for p in (JAX / "fixed").glob("*.py")}
    assert {c["file"] for c in HEALTHY} == {p.name for p in (JAX / "healthy").glob("*.py")}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["file"])
def test_twins_differ_in_a_few_lines(case):
    faulty, fixed = ((JAX / kind / case["file"]).read_text("utf-8").splitlines() for kind in ("faulty", "fixed"))
    assert 1 <= len(set(faulty) ^ set(fixed)) <= 6
    assert not set(case["illness"]) & set(case["also_allowed"])


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["file"])
def test_the_fixed_twin_was_measured_to_win_with_every_seed(case):
    metric = case["metric"]
    values = [(math.nan if v is None else v) for v in metric["fixed"] + metric["faulty"]]
    fixed, faulty = values[: len(SEEDS)], values[len(SEEDS) :]
    assert len(faulty) == len(SEEDS)
    assert all(beats(a, b, metric["better"], MARGIN) for a, b in zip(fixed, faulty, strict=True))


@pytest.mark.parametrize("case", HEALTHY, ids=lambda c: c["file"])
def test_a_healthy_program_was_measured_to_reach_its_bound_with_every_seed(case):
    metric = case["metric"]
    assert len(metric["values"]) == len(SEEDS)
    assert all(beats(v, metric["bound"], metric["better"], 0.0) for v in metric["values"])


def test_what_is_not_finite_never_wins_and_always_loses():
    assert beats(0.1, math.nan, "lower", MARGIN)
    assert not beats(math.nan, 0.1, "lower", MARGIN)
    assert not beats(math.nan, math.nan, "higher", MARGIN)


def test_a_difference_below_the_margin_proves_nothing():
    assert not beats(0.92, 0.90, "higher", MARGIN)
    assert beats(0.96, 0.90, "higher", MARGIN)


def test_a_program_without_a_metric_is_refused_with_what_it_printed(tmp_path):
    program = tmp_path / "silent.py"
    program.write_text("print('done')\n", "utf-8")
    with pytest.raises(ValueError, match=r"SEED=0 printed no metric: done"):
        run(program, 0)
