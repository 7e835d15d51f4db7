"""Odd trees, odd losses and odd optimizers: nothing of it may break, or change, what the user runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradscope
import numpy as np
import pytest
from gradscope.errors import UsageError

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

import gradscope_jax  # noqa: E402
from tests.adapters.jax.programs import loop, run  # noqa: E402


def stepped(tx: Any, params: Any, grads: Any, steps: int = 3, **extra: Any) -> Any:
    """The state after some jitted steps."""
    state = tx.init(params)
    update = jax.jit(lambda grads, state, params: tx.update(grads, state, params, **extra))
    for _ in range(steps):
        _, state = update(grads, state, params)
    return state


TREES = {
    "empty": ({}, {}),
    "one array": (np.ones(3, "f4"), np.ones(3, "f4")),
    "numbers": ({"a": 0.5}, {"a": 0.1}),
    "holes": ({"a": np.ones(3, "f4"), "b": None}, {"a": np.ones(3, "f4"), "b": None}),
    "integers beside": ({"a": np.ones(3, "f4"), "n": np.ones(2, "i4")}, {"a": np.ones(3, "f4"), "n": None}),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_that_optax_takes_are_taken(name: str) -> None:
    params, grads = TREES[name]
    scope = gradscope.watch()
    state = stepped(gradscope_jax.watch(scope, optax.sgd(0.1)), params, grads)
    assert not scope.failures
    if jax.tree.leaves(grads):
        gradscope_jax.read(scope, state)
        assert scope.report().watched["steps"] == 3


def test_a_step_without_parameters_says_nothing_of_them() -> None:
    scope = gradscope.watch()
    tx = gradscope_jax.watch(scope, optax.sgd(0.1))
    params = {"w": jnp.ones(4)}
    state = tx.init(params)
    for _ in range(8):
        _, state = jax.jit(tx.update)({"w": jnp.ones(4)}, state)
    gradscope_jax.read(scope, state)
    report = scope.report()
    assert (report.watched["steps"], [v.name for v in report.verdicts]) == (8, [])
    assert len(scope.histories[0]["parameter"]) == 0


def test_reading_after_each_step_sees_the_updates() -> None:
    scope = gradscope.watch()
    tx = gradscope_jax.watch(scope, optax.sgd(0.1))
    params = {"w": jnp.ones(4)}
    state = tx.init(params)
    for _ in range(8):
        updates, state = tx.update({"w": jnp.ones(4)}, state, params)
        params = optax.apply_updates(params, updates)
        gradscope_jax.read(scope, state)
    assert scope.histories[0]["parameter"].series("update_norm", "w") == pytest.approx([0.2] * 7, rel=1e-5)


def test_a_loss_that_is_nan_is_one_and_none_is_none() -> None:
    for extra, expected in (({"value": jnp.nan}, [1.0] * 3), ({}, [np.nan] * 3)):
        scope = gradscope.watch()
        params = {"w": jnp.ones(4)}
        state = stepped(gradscope_jax.watch(scope, optax.sgd(0.1)), params, params, **extra)
        gradscope_jax.read(scope, state)
        assert scope.histories[0].run("loss_nonfinite") == pytest.approx(expected, nan_ok=True)


def test_nothing_is_nan_that_the_user_did_not_make_so() -> None:
    with jax.debug_nans(True):
        scope = gradscope.watch()
        params = {"w": jnp.ones(4)}
        gradscope_jax.read(scope, stepped(gradscope_jax.watch(scope, optax.sgd(0.1)), params, params))
        jax.jit(gradscope_jax.observe)(params)


def test_several_steps_in_one_are_refused_with_what_would_work() -> None:
    scope = gradscope.watch()
    for made in (optax.MultiSteps(optax.sgd(0.1), 4), optax.MultiSteps(optax.sgd(0.1), 4).gradient_transformation()):
        with pytest.raises(UsageError, match=r"MultiSteps\(gradscope_jax"):
            gradscope_jax.watch(scope, made)


def test_two_states_are_told_apart_and_a_log_for_both_is_refused() -> None:
    scope = gradscope.watch()
    tx = gradscope_jax.watch(scope, optax.sgd(0.1))
    states = [stepped(tx, {"w": jnp.ones(n)}, {"w": jnp.full(n, 2.0)}) for n in (4, 9)]
    for state in states:
        gradscope_jax.read(scope, state)
    norms = [h["gradient"].column("gradient_norm")[0, 0] for h in scope.histories]
    assert norms == pytest.approx([4, 6])
    with pytest.raises(UsageError, match="several optimizers"):
        scope.log(loss=1.0)
    with pytest.raises(UsageError, match=r"another scope|no gradscope_jax"):
        gradscope_jax.read(gradscope.watch(), states[0])


def test_the_state_can_be_saved() -> None:
    serialization = pytest.importorskip("flax.serialization")
    params = {"w": jnp.ones(4)}
    tx = gradscope_jax.watch(gradscope.watch(), optax.adam(0.1))
    state = stepped(tx, params, params)
    again = serialization.from_bytes(tx.init(params), serialization.to_bytes(state))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), state, again))


def test_constants_of_inner_functions_are_told_apart(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
for i in range(6):
    y = jnp.arange(3.0) + i
    g = jax.grad(lambda w: jax.jit(lambda w: jnp.sum(w * y))(w))(jnp.ones(3))
    assert (g == y).all(), (g, y)
""",
    )


def test_a_random_loss_draws_as_often_as_alone(tmp_path: Path) -> None:
    body = """
np.random.seed(0)
def loss_fn(w):
    loss = jnp.sum(w) * np.random.rand()
    return loss * 2 if loss > 0 else loss
seen = [float(jax.grad(loss_fn)(jnp.ones(2))[0]) for _ in range(5)]
np.random.seed(0)
assert np.allclose(seen, [2 * np.random.rand() for _ in range(5)]), seen
"""
    run(tmp_path, body)


def test_transformations_of_two_arguments_are_called_as_they_were(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
tx = optax.GradientTransformation(lambda p: (), lambda g, s: (g, s))
assert tx.update({"w": jnp.ones(2)}, ())[1] == ()
""",
    )


def test_gradients_per_sample_leave_the_rest_seen(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
params = init(0, 8, 16, 1)
tx = optax.sgd(1e-2)
state = tx.init(params)
for x, y, c in batches(4):
    each = jax.vmap(lambda x, y: jax.grad(lambda p: (mlp(p, x)[0] - y) ** 2)(params))(x, y)
    loss, grads = jax.value_and_grad(lambda p: jnp.mean((mlp(p, x)[:, 0] - y) ** 2))(params)
    updates, state = tx.update(grads, state)
    params = optax.apply_updates(params, updates)
""",
    )
    assert outcome.scope is not None and not outcome.scope.failures
    assert np.isfinite(outcome.scope.histories[0].run("loss")).all()


def test_a_gradient_of_something_else_is_no_part_of_the_step(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
params = init(0, 8, 16, 1)
tx = optax.sgd(1e-3)
state = tx.init(params)
loss_fn = lambda p, x, y: jnp.mean((mlp(p, x)[:, 0] - y) ** 2)
for x, y, c in batches(4):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    jax.value_and_grad(loss_fn)(params, 100 * x, y)
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
""",
    )
    assert outcome.scope is not None
    history = outcome.scope.histories[0]
    assert (history.run("backward_passes") == 1).all()
    assert history.run("loss").max() < 1000


def test_a_loss_with_a_branch_on_values_is_stepped_by_hand_too(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
params = init(0, 8, 16, 1)
def loss_fn(p, x, y):
    e = mlp(p, x)[:, 0] - y
    return jnp.mean(jnp.abs(e)) if jnp.abs(e).max() > 1 else jnp.mean(e ** 2)
for x, y, c in batches(4):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    params = jax.tree.map(lambda p, g: p - 0.02 * g, params, grads)
""",
    )
    assert (outcome.report.status, outcome.report.watched["steps"]) == ("healthy", 31)


def test_a_column_that_is_made_of_a_vector_is_no_broadcast(tmp_path: Path) -> None:
    loss = "jnp.mean((jax.vmap(lambda x: mlp(params, x)[0])(x)[:, None] - y[:, None]) ** 2)"
    outcome = run(tmp_path, loop(loss=loss))
    assert (outcome.report.status, outcome.report.verdicts) == ("healthy", ())


def test_a_parameter_without_entries_is_no_illness(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        loop(params="[*init(0, 8, 32, 1), jnp.zeros((0, 4))]", loss="jnp.mean((mlp(params[:2], x)[:, 0] - y) ** 2)"),
    )
    assert (outcome.report.status, outcome.report.verdicts) == ("healthy", ())


def test_steps_that_were_overwritten_are_told() -> None:
    scope, params = gradscope.watch(), {"w": jnp.ones(4)}
    gradscope_jax.read(scope, stepped(gradscope_jax.watch(scope, optax.sgd(0.1)), params, params, steps=100))
    assert "36 steps were overwritten" in scope.report().watched["limits"]["gaps"]


def test_calls_at_the_wrong_place_are_refused() -> None:
    scope, params = gradscope.watch(), {"w": jnp.ones(4)}
    state = gradscope_jax.watch(scope, optax.sgd(0.1)).init(params)
    with pytest.raises(UsageError, match="inside jit"):
        jax.jit(lambda state: gradscope_jax.read(scope, state))(state)
    with pytest.raises(UsageError, match="Scope first"):
        gradscope_jax.read(state, scope)
    with pytest.raises(UsageError, match="inside jit"):
        jax.jit(lambda g: gradscope_jax.record(gradscope.watch(), gradscope_jax.observe(g), g))(params)


SWAPPED = """
params = {"u": init(0, 8, 8)[0]["w"], "v": init(1, 8, 8)[0]["w"]}

def first(a, b, x, y):
    return jnp.mean(((jnp.tanh(x @ a) @ b)[:, 0] - y) ** 2)

def second(b, a, x, y):
    return first(a, b, x, y)

tx = optax.sgd(0.01)
state = tx.init(params)
for i, (x, y, c) in enumerate(batches(1)):
    if i % 2:
        gv, gu = jax.grad(second, argnums=(0, 1))(params["v"], params["u"], x, y)
    else:
        gu, gv = jax.grad(first, argnums=(0, 1))(params["u"], params["v"], x, y)
    updates, state = tx.update({"u": gu, "v": gv}, state)
    params = optax.apply_updates(params, updates)
"""


def test_names_that_change_places_stay_those_of_their_columns(tmp_path: Path) -> None:
    outcome = run(tmp_path, SWAPPED)
    assert outcome.scope is not None and not outcome.scope.failures
    table = outcome.scope.histories[0]["gradient"]
    assert [table.index(s.name) for s in table.subjects] == [0, 1]


def test_layers_that_are_only_sometimes_scanned_keep_their_columns(tmp_path: Path) -> None:
    body = """
params = {"w": 0.3 * jax.random.normal(jax.random.key(0), (2, 8, 8)), "out": jnp.ones((8, 1)) / 8}

def scanned(params, x, y):
    h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, params["w"])
    return jnp.mean(((h @ params["out"])[:, 0] - y) ** 2)

def unrolled(params, x, y):
    h = jnp.tanh(jnp.tanh(x @ params["w"][0]) @ params["w"][1])
    return jnp.mean(((h @ params["out"])[:, 0] - y) ** 2)

tx = optax.sgd(0.01)
state = tx.init(params)
for i, (x, y, c) in enumerate(batches(1)):
    grads = jax.grad(scanned if i != 1 else unrolled)(params, x, y)
    updates, state = tx.update(grads, state)
    params = optax.apply_updates(params, updates)
"""
    outcome = run(tmp_path, body)
    assert outcome.scope is not None and not outcome.scope.failures
    table = outcome.scope.histories[0]["gradient"]
    assert [s.name for s in table.subjects] == ["out", "0.w", "1.w"]
    assert (table.column("gradient_norm") > 0).all()


def test_a_vector_that_enters_leaves_the_size_of_the_batch_known(tmp_path: Path) -> None:
    body = """
params = {"a": init(0, 8, 4)[0]["w"], "b": jnp.ones((32, 4)) / 32}
for x, y, c in batches(2):
    grads = jax.grad(lambda p, x, y: jnp.mean(jnp.cosh(x @ p["a"])) + jnp.sum(jnp.cosh(y @ p["b"])))(params, x, y)
    params = jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)
"""
    outcome = run(tmp_path, body)
    assert outcome.scope is not None
    assert (outcome.scope.histories[0].run("batch_size") == 32).all()


def test_an_embedding_is_told_by_its_parameter(tmp_path: Path) -> None:
    body = """
params = {"table": jnp.ones((9, 4)), "out": jnp.ones((4, 1))}
for x, y, c in batches(1):
    grads = jax.grad(lambda p, c, y: jnp.mean(((p["table"][c] @ p["out"])[:, 0] - y) ** 2))(params, c, y)
    params = jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)
"""
    outcome = run(tmp_path, body)
    assert outcome.scope is not None
    types = {s.name: s.traits["module_type"] for s in outcome.scope.histories[0]["gradient"].subjects}
    assert types == {"out": "Linear", "table": "Embedding"}


def test_a_workload_is_refused_with_what_would_work() -> None:
    from gradscope.adapter import Adapter
    from gradscope.errors import CannotApply

    from gradscope_jax.plugin import JaxAdapter

    adapter: Any = JaxAdapter()
    assert isinstance(adapter, Adapter)
    for call in (adapter.train, adapter.fresh):
        with pytest.raises(UsageError, match="the training script"):
            call(None, None)
    with pytest.raises(UsageError, match="the training script"):
        adapter.evaluate(None)
    with pytest.raises(CannotApply, match=r"gradient-clipping: .* the training script"):
        adapter.treat(None, "gradient-clipping", {})


def test_weights_moved_when_a_number_of_them_differs_and_nan_is_nan() -> None:
    from gradscope_jax.evaluation import Evaluation
    from gradscope_jax.recorder import moved

    def seen(*weights: list[float]) -> Evaluation:
        return Evaluation(0.0, [jnp.asarray(w) for w in weights], [])

    assert not moved(seen([1.0, np.nan], [2.0]), seen([1.0, np.nan], [2.0]))
    assert moved(seen([1.0, np.nan], [2.0]), seen([1.0, np.nan], [2.5]))
    assert moved(seen([1.0, 2.0], [2.0]), seen([1.0, np.nan], [2.0]))
