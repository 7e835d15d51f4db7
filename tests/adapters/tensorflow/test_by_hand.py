"""Steps without an optimizer: `variable.assign_sub(rate * gradient)`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from tests.adapters.tensorflow.programs import check, names

LOOP = """
w = tf.Variable(tf.random.normal((8, 1), stddev=0.1, seed=0), name="w")
b = tf.Variable(tf.zeros((1,)), name="b")

@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(x @ w + b - y))
    dw, db = tape.gradient(loss, [w, b])
    w.{how}(0.05 * dw)
    b.{how}(0.05 * db)
    return loss

for epoch in range(6):
    for k in range(0, 512, 32):
        step(x[k:k + 32], line[k:k + 32])
"""


def test_steps_by_hand_are_steps(tmp_path: Path) -> None:
    report = check(tmp_path, LOOP.format(how="assign_sub"))
    assert (report.status, names(report), report.watched["steps"]) == ("healthy", [], 96)


def test_a_wrong_sign_is_named(tmp_path: Path) -> None:
    assert names(check(tmp_path, LOOP.format(how="assign_add")))[0] == "diverging-loss"


def test_gradients_that_nobody_uses_are_no_steps(tmp_path: Path) -> None:
    report = check(tmp_path, LOOP.format(how="shape.__eq__"))
    assert (report.status, report.watched["steps"]) == ("not-judged", 0)


def test_with_an_optimizer_its_steps_count_alone(tmp_path: Path) -> None:
    loop = LOOP.format(how="shape.__eq__").replace(
        "    return loss", "    optimizer.apply_gradients([(dw, w), (db, b)])"
    )
    report = check(tmp_path, "optimizer = keras.optimizers.SGD(0.05)\n" + loop)
    assert report.watched["steps"] == 96
    assert [o["optimizer"] for o in report.watched["objectives"]] == ["SGD"]
