"""watch(), read(), observe() and record(): jitted steps, and what their statistics say on the host."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import pairwise
from typing import Any

import gradscope
import numpy as np
import pytest
from gradscope.errors import UsageError

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

import gradscope_jax  # noqa: E402

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(256, 8)).astype("f4")
Y = X.sum(1)


def init(sizes: tuple[int, ...] = (8, 32, 32, 1)) -> list[dict[str, Any]]:
    """Weights of an MLP, the same each time."""
    random = np.random.default_rng(1)
    return [
        {"w": jnp.asarray(random.normal(size=(a, b)) * np.sqrt(2 / a), "f4"), "b": jnp.zeros(b)}
        for a, b in pairwise(sizes)
    ]


def loss_fn(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the MLP."""
    for p in params[:-1]:
        x = jax.nn.relu(x @ p["w"] + p["b"])
    return jnp.mean(((x @ params[-1]["w"] + params[-1]["b"])[:, 0] - y) ** 2)


def train(tx: Any, steps: int = 100, **options: Any) -> tuple[Any, Any, list[list[float]]]:
    """(parameters, state, true norms of the gradients of each step) after so many jitted steps, buffers donated."""
    params = init()
    state = tx.init(params)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        extra = {"value": loss} if options.get("value", True) else {}
        updates, state = tx.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state, loss, grads

    norms = []
    for i in range(steps):
        at = i * 32 % 256
        params, state, loss, grads = step(params, state, X[at : at + 32], Y[at : at + 32])
        norms.append([float(np.linalg.norm(np.asarray(g, "f8"))) for g in jax.tree.leaves(grads)])
        if "read" in options and i % 20 == 0:
            gradscope_jax.read(options["read"], state)
        if "log" in options:
            options["log"].log(loss=loss)
    return params, state, norms


@pytest.mark.parametrize("kind", ["around", "before"])
def test_every_step_is_seen_and_the_training_is_the_same(kind: str) -> None:
    alone, _, norms = train(optax.with_extra_args_support(optax.adam(1e-2)))
    scope = gradscope.watch()
    adam = optax.adam(1e-2)
    around = gradscope_jax.watch(scope, adam) if kind == "around" else optax.chain(gradscope_jax.watch(scope), adam)
    watched, state, _ = train(optax.with_extra_args_support(around), read=scope)
    gradscope_jax.read(scope, state)
    assert jax.tree.all(jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5, atol=1e-7), alone, watched))
    report, history = scope.report(), scope.histories[0]
    assert (report.status, report.watched["steps"], scope.failures) == ("healthy", 100, {})
    assert history["gradient"].column("gradient_norm") == pytest.approx(np.array(norms), rel=1e-5)
    assert np.isfinite(history.run("loss")).all()
    assert (history["parameter"].column("update_norm")[0] > 0).all()


def test_steps_that_nobody_read_are_said_to_be_in_the_state() -> None:
    scope = gradscope.watch()
    _, state, _ = train(gradscope_jax.watch(scope, optax.adam(1e-2)), 30)
    report = scope.report()
    assert report.status == "not-judged"
    assert report.cannot is not None and "read(scope, opt_state)" in report.cannot
    gradscope_jax.read(scope, state)
    gradscope_jax.read(scope, state)
    assert scope.report().watched["steps"] == 30
    assert "steps" not in scope.report().watched["limits"]


def test_losses_can_be_logged() -> None:
    scope = gradscope.watch()
    _, state, _ = train(gradscope_jax.watch(scope, optax.adam(1e-2)), 50, value=False, log=scope)
    gradscope_jax.read(scope, state)
    loss = scope.histories[0].run("loss")
    assert np.isfinite(loss).all() and loss[0] > loss[-1]


def test_a_learning_rate_that_is_injected_is_seen() -> None:
    scope = gradscope.watch()
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=optax.linear_schedule(0.1, 0.0, 10))
    _, state, _ = train(gradscope_jax.watch(scope, tx), 10)
    gradscope_jax.read(scope, state)
    assert scope.histories[0].run("learning_rate") == pytest.approx(np.linspace(0.1, 0.01, 10), rel=1e-4)


def test_a_run_that_breaks_is_named() -> None:
    scope = gradscope.watch()
    _, state, _ = train(gradscope_jax.watch(scope, optax.sgd(1e6)), 20)
    gradscope_jax.read(scope, state)
    assert {"non-finite-gradient", "non-finite-loss"} <= {v.name for v in scope.report().verdicts}


def test_observe_is_a_pure_function_for_jit() -> None:
    scope, tx = gradscope.watch(), optax.sgd(1e-2)
    params = init()
    state = tx.init(params)

    @partial(jax.jit, static_argnames="full")
    def step(params: Any, state: Any, full: bool) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, X, Y)
        updates, state = tx.update(grads, state)
        seen = gradscope_jax.observe(grads, params=params, updates=updates, loss=loss, full=full)
        return optax.apply_updates(params, updates), state, seen

    for i in range(100):
        before = params
        params, state, seen = step(params, state, full=i % 10 == 0)
        gradscope_jax.record(scope, seen, params)
    assert seen.shape == (7, 9)
    report, history = scope.report(), scope.histories[0]
    assert (report.status, report.watched["steps"]) == ("healthy", 100)
    assert len(history["parameter"]) == 10
    norms = [np.linalg.norm(np.asarray(p)) for p in jax.tree.leaves(before)]
    assert history["parameter"].column("parameter_norm")[-1] == pytest.approx(norms, rel=0.1)


def test_layers_that_are_stacked_are_split() -> None:
    tree = {"layers": {"w": jnp.stack([jnp.ones((4, 4)), 2 * jnp.ones((4, 4))])}, "out": jnp.ones(3)}
    scope = gradscope.watch()
    seen = gradscope_jax.observe(tree, stacked="layers")
    gradscope_jax.record(scope, seen, tree, stacked="layers")
    scope.report()
    table = scope.histories[0]["gradient"]
    assert [s.name for s in table.subjects] == ["layers.0.w", "layers.1.w", "out"]
    assert table.column("gradient_norm")[0] == pytest.approx([4, 8, 3**0.5])


def test_wrong_arguments_are_refused() -> None:
    scope = gradscope.watch()
    with pytest.raises(UsageError, match=r"expected a gradscope\.Scope first, got Gradient"):
        gradscope_jax.watch(optax.adam(1e-3))
    with pytest.raises(UsageError, match="expected an optax transformation, got int"):
        gradscope_jax.watch(scope, 3)
    with pytest.raises(UsageError, match=r"no gradscope_jax\.watch"):
        gradscope_jax.read(scope, optax.adam(1e-3).init(init()))
    with pytest.raises(UsageError, match="differ in shape"):
        gradscope_jax.observe(init(), params=init((8, 4, 1)))
    with pytest.raises(UsageError, match="expected what observe"):
        gradscope_jax.record(gradscope.watch(), jnp.zeros((2, 2)), init())
    flax = pytest.importorskip("flax.linen")
    with pytest.raises(UsageError, match=r"gradscope_jax\.watch"):
        gradscope.watch(flax.Dense(3), optax.adam(1e-3))


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, gradscope, gradscope_jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
assert len(jax.devices()) == 4
mesh = Mesh(np.array(jax.devices()), ("x",))
g = jax.device_put(jnp.arange(64.0).reshape(8, 8), NamedSharding(mesh, P("x")))
seen = jax.jit(lambda g: gradscope_jax.observe({"w": g}, params={"w": g}))(g)
assert np.isclose(float(seen[1, 0]), np.linalg.norm(np.arange(64.0))), seen
"""


def test_sharded_arrays_are_reduced_over_all_their_shards() -> None:
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_the_plugin_imports_no_framework() -> None:
    code = (
        "import sys, gradscope_jax, gradscope_jax.plugin; print(sorted({'jax', 'optax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_optax_made_is_known_without_a_session() -> None:
    scope = gradscope.watch()
    tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(1e-2, 0.0, 20)))
    _, state, norms = train(gradscope_jax.watch(scope, tx), 20)
    gradscope_jax.read(scope, state)
    history = scope.histories[0]
    assert history.facts["optimizer"] == "Adam"
    assert history.run("learning_rate") == pytest.approx(np.linspace(1e-2, 5e-4, 20), rel=1e-4)
    assert history.run("clip_limit") == pytest.approx([0.5] * 20)
    assert history.run("clip_before") == pytest.approx(np.linalg.norm(norms, axis=1), rel=1e-4)


def test_gradients_that_are_always_clipped_are_named() -> None:
    scope = gradscope.watch()
    tx = optax.chain(optax.clip_by_global_norm(1e-4), optax.sgd(1e-2))
    _, state, _ = train(gradscope_jax.watch(scope, tx), 100, read=scope)
    gradscope_jax.read(scope, state)
    assert "always-clipped" in {v.name for v in scope.report().verdicts}


def test_what_is_frozen_on_purpose_is_no_illness() -> None:
    scope = gradscope.watch()
    tx = optax.multi_transform({"go": optax.adam(1e-2), "rest": optax.set_to_zero()}, ["rest", "go", "go"])
    _, state, _ = train(gradscope_jax.watch(scope, tx), 200, read=scope)
    gradscope_jax.read(scope, state)
    assert [v.name for v in scope.report().verdicts] == []
    trained = [s.name for s in scope.histories[0]["gradient"].subjects if s.traits["trainable"]]
    assert trained == ["1.b", "1.w", "2.b", "2.w"]
