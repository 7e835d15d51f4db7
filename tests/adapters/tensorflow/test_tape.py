"""GradientTape, scope.tape() and GradscopeCallback: other doors to the same watch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gradscope
import numpy as np
import pytest
from gradscope.errors import UsageError

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

import gradscope_tensorflow  # noqa: E402
from gradscope_tensorflow import GradientTape, GradscopeCallback, current_scope  # noqa: E402

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 8)).astype("f4")
Y = X.sum(1, keepdims=True)


def model() -> Any:
    """The same small model each time."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])


def loop(made: Any, tape_of: Any, graph: bool, steps: int = 20) -> Any:
    """Trains in a loop of one's own; gives the weights."""
    optimizer = keras.optimizers.SGD(0.01)

    def step(x: Any, y: Any) -> Any:
        with tape_of() as tape:
            loss = tf.reduce_mean(tf.square(made(x, training=True) - y))
        gradients = tape.gradient(loss, made.trainable_variables)
        optimizer.apply_gradients(zip(gradients, made.trainable_variables, strict=True))
        return loss

    run = tf.function(step) if graph else step
    losses = [float(run(X, Y)) for _ in range(steps)]
    return made.get_weights(), losses


def equal(left: list[Any], right: list[Any]) -> bool:
    """Whether all arrays are the same, bit for bit."""
    return all((a == b).all() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("graph", [False, True])
def test_the_tape_of_a_scope_without_a_model_sees_the_loop(graph: bool) -> None:
    alone, _ = loop(model(), tf.GradientTape, graph)
    with gradscope.watch() as scope:
        watched, losses = loop(model(), scope.tape, graph)
        report = scope.report()
    assert equal(alone, watched)
    assert (report.status, report.watched["steps"], scope.failures) == ("healthy", 20, {})
    history = scope.histories[0]
    assert history.run("loss") == pytest.approx(losses)
    assert history["gradient"].subjects[0].name.endswith("kernel")
    assert np.isfinite(history["parameter"].column("update_norm")).any()


@pytest.mark.parametrize("graph", [False, True])
def test_the_tape_alone_opens_a_scope_of_its_own(graph: bool) -> None:
    alone, _ = loop(model(), tf.GradientTape, graph)
    watched, _ = loop(model(), GradientTape, graph)
    scope = current_scope()
    try:
        assert equal(alone, watched)
        assert scope.report().watched["steps"] == 20
    finally:
        scope.close()
    assert current_scope() is not scope
    current_scope().close()


def test_the_tape_binds_to_the_scope_that_is_open() -> None:
    made = model()
    with gradscope.watch(made, keras.optimizers.Adam()) as scope, GradientTape() as tape:
        assert tape.scope is scope


def test_a_tape_is_handed_its_scope() -> None:
    with gradscope.watch() as first, gradscope.watch() as second:
        first.tape()
        second.tape()
        loop(model(), lambda: GradientTape(scope=first), graph=False, steps=3)
        assert (first.report().watched["steps"], second.report().watched["steps"]) == (3, 0)


def test_the_tape_has_the_options_of_tensorflows_own() -> None:
    with gradscope.watch() as scope, scope.tape(persistent=True, watch_accessed_variables=False) as tape:
        x = tf.constant(3.0)
        tape.watch(x)
        y = x * x
    assert (float(tape.gradient(y, x)), float(tape.gradient(y, x))) == (6.0, 6.0)


def test_a_scope_of_another_framework_has_no_tape() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 1)
    with (
        gradscope.watch(layer, torch.optim.SGD(layer.parameters(), 0.1)) as scope,
        pytest.raises(UsageError, match="only what runs on TensorFlow has gradient tapes"),
    ):
        scope.tape()


def test_the_callback_watches_fit() -> None:
    alone, watched = model(), model()
    for one in (alone, watched):
        one.compile(keras.optimizers.Adam(1e-2), "mse")
    shown: list[str] = []
    callback = GradscopeCallback(show=shown.append)
    alone.fit(X, Y, epochs=5, batch_size=8, verbose=0, shuffle=False)
    before = keras.Layer.__call__
    watched.fit(X, Y, epochs=5, batch_size=8, verbose=0, shuffle=False, callbacks=[callback])
    assert keras.Layer.__call__ is before
    assert equal(alone.get_weights(), watched.get_weights())
    assert callback.scope is not None
    assert callback.scope.report().watched["steps"] == 40
    assert shown == [str(callback.scope.report())]


def test_the_callback_watches_a_model_that_was_trained_before() -> None:
    made = model()
    made.compile(keras.optimizers.Adam(1e-2), "mse")
    made.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    callback = GradscopeCallback(show=None)
    for _ in range(2):
        made.fit(X, Y, epochs=2, batch_size=8, verbose=0, callbacks=[callback])
        assert callback.scope is not None
        assert callback.scope.report().watched["steps"] == 16


def test_the_package_imports_no_framework_by_itself() -> None:
    code = "import sys, gradscope_tensorflow; print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert dir(gradscope_tensorflow) == ["GradientTape", "GradscopeCallback", "current_scope"]
