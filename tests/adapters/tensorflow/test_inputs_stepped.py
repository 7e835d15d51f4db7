"""Gradients taken with respect to the inputs: a mistake where batches pass through them, none where one input stays."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from gradscope.report import Report

from tests.adapters.tensorflow.programs import check

STEPS = """
keras.utils.clear_session()
model = keras.Sequential([keras.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(1)])
optimizer = keras.optimizers.Adam({rate})
inputs = tf.Variable(x[:64])
for step in range(60):
    at = rng.permutation(512)[:64]
    {before}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(inputs) - {target}))
    {step}
"""
INPUTS = "optimizer.apply_gradients(zip(tape.gradient(loss, [inputs]), [inputs]))"
BOTH = "both = [inputs, *model.trainable_variables]; optimizer.apply_gradients(zip(tape.gradient(loss, both), both))"
BATCHES = "inputs.assign(x[at])"


def still(report: Report) -> list[str | None]:
    """What is named as unchanged."""
    return [e.parameter for v in report.verdicts if v.name == "unchanged-parameter" for e in v.evidence]


def test_weights_stand_still_where_each_batch_is_stepped_in_their_place(tmp_path: Path) -> None:
    report = check(tmp_path, STEPS.format(rate=0.01, before=BATCHES, target="line[at]", step=INPUTS))
    assert still(report) == ["dense.kernel", "dense.bias", "dense_1.kernel", "dense_1.bias"]
    first, *others = report.verdicts
    assert (first.name, first.severity) == ("unchanged-parameter", "error")
    assert first.remedies[0].title == "take the gradients with respect to the weights, and step those"
    assert {v.consequence_of for v in others} <= {"unchanged-parameter"}


@pytest.mark.parametrize(
    "program",
    [
        STEPS.format(rate=0.05, before="", target="line[:64]", step=INPUTS),
        STEPS.format(rate=0.05, before="inputs.assign(tf.clip_by_value(inputs, -2, 2))", target="1.0", step=INPUTS),
        STEPS.format(rate=1e-6, before="", target="line[:64]", step=INPUTS),
        STEPS.format(rate=0.01, before=BATCHES, target="line[at]", step=BOTH),
    ],
    ids=["an input of its own", "clipped to its range", "slowly", "beside the weights"],
)
def test_inputs_that_are_to_be_stepped_accuse_no_weight(tmp_path: Path, program: str) -> None:
    assert still(check(tmp_path, program)) == []
