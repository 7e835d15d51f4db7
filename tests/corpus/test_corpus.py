"""The targets of the project on whole corpora: what is found, what is named first, and no false alarm."""

from __future__ import annotations

import os

import pytest

from tests.corpus.runner import SHARED, corpora, judge_all, table, tally

NAMES = ["own", "own/jax", "shared/torch", "shared/keras"] if SHARED.is_dir() else ["own", "own/jax"]
TARGETS = {"own/jax": (0.80, 0.80)}
"""Shares of the faulty programs to be correctly named, and named first, where it is not (0.95, 0.85).

Of 36 programs in JAX 30 are named, each of them first: the bound leaves room for one of them. Missed are credit_scoring
(every matrix is in the group that set_to_zero holds still; what is left, biases and norms, learns), digit_codes_vae and
view_pairs (an output that collapses without a target to compare it with), sonar_depth (a loss that jumps up and down)
and tile_pattern (units that start as copies of each other); headline_topics, a warm-up that never ends, is told as a
stalled loss.
"""


@pytest.mark.corpus
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_judged_as_labelled(name, capsys):
    outcomes = judge_all(corpora()[name], os.cpu_count() or 1)
    figures = tally(outcomes)
    note = "" if SHARED.is_dir() else "\n(no ../shared/corpus here: own corpus only)"
    with capsys.disabled():
        print(f"\n{table(name, outcomes)}{note}")
    named, first = TARGETS.get(name, (0.95, 0.85))
    assert figures.named >= named * figures.faulty
    assert figures.first >= first * figures.faulty
    assert figures.false_errors == ()
    assert len(figures.false_warnings) <= 0.03 * figures.sound
