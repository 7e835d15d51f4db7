"""`check` of unchanged JAX scripts: the same rules, the same names, the layer and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")

from tests.adapters.jax.programs import HEAD, check, loop, names, run

DEEP = "init(0, 8, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 1)"
CROSS = "optax.softmax_cross_entropy_with_integer_labels({}, c).mean()"
BINARY = "-jnp.mean(c * jnp.log(p) + (1 - c) * jnp.log1p(-p))"
SICK = {
    "vanishing-gradient": loop(
        params=DEEP,
        tx="optax.sgd(0.01)",
        loss="optax.sigmoid_binary_cross_entropy(mlp(params, x, jax.nn.sigmoid)[:, 0], c).mean()",
    ),
    "poor-initialization": loop(params="jax.tree.map(lambda p: p * 4, " + DEEP + ")", tx="optax.sgd(1e-4)"),
    "dead-units": loop(params="[{**p, 'b': p['b'] - 50} for p in init(0, 8, 32, 32)] + init(1, 32, 1)"),
    "output-loss-mismatch": loop(params="init(0, 8, 32, 2)", loss=CROSS.format("jax.nn.softmax(mlp(params, x))")),
    "broadcast-loss": loop(loss="jnp.mean((mlp(params, x) - y) ** 2)"),
    "target-out-of-range": loop(loss="jnp.mean((jax.nn.sigmoid(mlp(params, x))[:, 0] - y) ** 2)", y="y * 50 + 100"),
    "unscaled-input": loop(x="x * 1e4 + 3e4"),
    "undersized-update": loop(tx="optax.adam(1e-7)", epochs=13),
    "oversized-update": loop(tx="optax.sgd(10.0)"),
    "missing-gradient": loop(
        loss="jnp.mean((mlp(params[1:], jax.lax.stop_gradient(x @ params[0]['w'] + params[0]['b']))[:, 0] - y) ** 2)"
    ),
    "unchanged-parameter": loop(tx="optax.masked(optax.chain(optax.adam(1e-2), optax.scale(0.0)), True)"),
    "always-clipped": loop(tx="optax.chain(optax.clip_by_global_norm(1e-4), optax.sgd(1e-2))", epochs=13),
    "non-finite-loss": loop(x="np.where(np.arange(32)[:, None] == 5, np.nan, x)"),
    "non-finite-gradient": loop(
        loss="jnp.mean(jnp.sqrt(jax.nn.relu(mlp(params, x)[:, 0]) * 0) + mlp(params, x)[:, 0] - y)"
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_an_illness_is_named(tmp_path: Path, name: str) -> None:
    assert name in names(check(tmp_path, SICK[name]))


SOUND = {
    "optax and raw trees": loop(),
    "classes": loop(params="init(0, 8, 32, 32, 2)", loss=CROSS.format("mlp(params, x)")),
    "warm-up and clipping": loop(
        tx="optax.chain(optax.clip_by_global_norm(1.0), "
        "optax.adam(optax.warmup_cosine_decay_schedule(0, 1e-2, 10, 80)))"
    ),
    "a frozen base": loop(
        params="{'base': init(0, 8, 32, 32), 'head': init(1, 32, 1)}",
        loss="jnp.mean((mlp([*params['base'], *params['head']], x)[:, 0] - y) ** 2)",
        tx="optax.multi_transform({'go': optax.adam(1e-2), 'rest': optax.set_to_zero()}, "
        "{'base': 'rest', 'head': 'go'})",
    ),
    "biases alone": """
import jax.tree_util as tree

params = init(0, 8, 32, 32, 1)
biases = tree.tree_map_with_path(lambda path, _: "biases" if path[-1].key == "b" else "rest", params)
tx = optax.multi_transform({"biases": optax.adam(1e-2), "rest": optax.set_to_zero()}, biases)
state = tx.init(params)
y_all = mlp([{**p, "b": p["b"] + 0.5} for p in params], X)[:, 0]

@jax.jit
def step(params, state, x, y):
    loss, grads = jax.value_and_grad(lambda p: jnp.mean((mlp(p, x)[:, 0] - y) ** 2))(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss

for i in range(80):
    at = i % 8 * 32
    params, state, loss = step(params, state, X[at:at + 32], y_all[at:at + 32])
""",
    "a warm-up of one part": loop(
        tx="optax.multi_transform({'late': optax.adam(optax.join_schedules([optax.constant_schedule(0.0), "
        "optax.constant_schedule(1e-2)], [3])), 'go': optax.adam(1e-2), 'rest': optax.set_to_zero()}, "
        "['late', 'go', 'go'])",
    ),
    "a base behind stop_gradient": loop(
        loss="jnp.mean((mlp([jax.lax.stop_gradient(params[0]), *params[1:]], x)[:, 0] - y) ** 2)"
    ),
    "auxiliary results, by hand": """
params = init(0, 8, 32, 1)

def loss_fn(params, x, y):
    out = mlp(params, x)[:, 0]
    return jnp.mean((out - y) ** 2), {"out": out, "name": "kept"}

for x, y, c in batches(10):
    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, x, y)
    assert aux["out"].shape == (32,) and aux["name"] == "kept"
    params = jax.tree.map(lambda p, g: p - 0.02 * g, params, grads)
""",
    "an epoch in a scan, donated": """
from functools import partial
params = init(0, 8, 32, 1)
tx = optax.adam(1e-2)
state = tx.init(params)
data = jnp.asarray(X).reshape(8, 32, 8), jnp.asarray(line).reshape(8, 32)

@partial(jax.jit, donate_argnums=(0, 1))
def epoch(params, state, data):
    def step(carry, batch):
        params, state = carry
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((mlp(p, batch[0])[:, 0] - batch[1]) ** 2))(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss
    return jax.lax.scan(step, (params, state), data)

for _ in range(10):
    (params, state), losses = epoch(params, state, data)
""",
    "bfloat16 inside": loop(
        loss="jnp.mean((mlp(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params), x.astype(jnp.bfloat16))[:, 0]"
        ".astype(jnp.float32) - y) ** 2)"
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_healthy_program_gets_no_alarm(tmp_path: Path, name: str) -> None:
    report = check(tmp_path, SOUND[name])
    assert (report.status, names(report)) == ("healthy", [])
    assert report.watched["steps"] >= 79


def test_what_moves_behind_a_warm_up_is_not_frozen(tmp_path: Path) -> None:
    scope = run(tmp_path, SOUND["a warm-up of one part"]).scope
    assert scope is not None
    table = scope.histories[0]["gradient"]
    assert [s.name for s in table.subjects if not s.traits["trainable"]] == []
    assert (table.series("gradient_norm", "0.w")[4:] > 0).all()


def test_what_is_set_to_zero_is_frozen_and_so_are_all_matrices(tmp_path: Path) -> None:
    scope = run(tmp_path, SOUND["biases alone"]).scope
    assert scope is not None
    trained = [s.name for s in scope.histories[0]["gradient"].subjects if s.traits["trainable"]]
    assert trained == ["0.b", "1.b", "2.b"]


def test_the_layer_and_its_line_are_named(tmp_path: Path) -> None:
    report = check(tmp_path, SICK["dead-units"])
    verdict = next(v for v in report.verdicts if v.name == "dead-units")
    at = (HEAD).splitlines().index('        x = act(x @ p["w"] + p["b"])') + 1
    assert verdict.module == "0"
    assert verdict.source is not None
    assert verdict.source.endswith(f"train.py:{at}")


def test_accumulated_gradients_make_one_step(tmp_path: Path) -> None:
    outcome = run(tmp_path, loop(tx="optax.MultiSteps(optax.adam(1e-2), 4)"))
    assert outcome.report.watched["steps"] == 20
    assert outcome.scope is not None
    assert (outcome.scope.histories[0].run("backward_passes") == 4).all()


def test_two_optimizers_are_told_apart(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
G, D = init(0, 4, 16, 8), init(1, 8, 16, 1)
tg, td = optax.adam(1e-3), optax.sgd(1e-2)
sg, sd = tg.init(G), td.init(D)
bce = lambda logit, target: optax.sigmoid_binary_cross_entropy(logit, jnp.full(logit.shape, target)).mean()

@jax.jit
def step(G, D, sg, sd, x, z):
    grads = jax.grad(lambda D: bce(mlp(D, x), 1.0) + bce(mlp(D, mlp(G, z)), 0.0))(D)
    updates, sd = td.update(grads, sd)
    D = optax.apply_updates(D, updates)
    grads = jax.grad(lambda G: bce(mlp(D, mlp(G, z)), 1.0))(G)
    updates, sg = tg.update(grads, sg)
    return optax.apply_updates(G, updates), D, sg, sd

for x, y, c in batches(5):
    G, D, sg, sd = step(G, D, sg, sd, x, rng.normal(size=(32, 4)))
""",
    )
    assert outcome.scope is not None
    first, second = outcome.scope.histories
    assert (first.facts["optimizer"], second.facts["optimizer"]) == ("SGD", "Adam")
    assert first.facts["competing"] and second.facts["competing"]
    assert [s.traits["shape"] for s in first["gradient"].subjects if s.traits["matrix"]] == [(8, 16), (16, 1)]
    assert len(first["gradient"]) == len(second["gradient"]) == 40


def test_the_exact_parameters_result_whatever_is_observed(tmp_path: Path) -> None:
    """Numbers differ only by what compiling changes: an unobserved run op by op gives the same to the last bit."""
    out = "\nnp.save(OUT, np.concatenate([np.ravel(p) for p in jax.tree.leaves(params)]))\n"
    body = loop(epochs=2)
    run(tmp_path, f"OUT = {str(tmp_path / 'seen.npy')!r}\n{body}{out}")
    import jax
    import numpy as np

    text = HEAD + f"OUT = {str(tmp_path / 'alone.npy')!r}\n{body}{out}"
    exec(compile(text, "alone", "exec"), {})
    seen, alone = np.load(tmp_path / "seen.npy"), np.load(tmp_path / "alone.npy")
    assert np.allclose(seen, alone, rtol=1e-4, atol=1e-6)
    assert not jax.config.jax_disable_jit


def test_everything_is_put_back(tmp_path: Path) -> None:
    import jax
    import optax

    before = (jax.grad, jax.value_and_grad, optax.apply_updates, optax.GradientTransformation.__new__)
    run(tmp_path, loop(epochs=1))
    assert (jax.grad, jax.value_and_grad, optax.apply_updates, optax.GradientTransformation.__new__) == before


def test_a_loss_that_cannot_be_traced_is_said_to_be_unseen(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
params = init(0, 8, 16, 1)
tx = optax.adam(1e-2)
state = tx.init(params)

def loss_fn(params):
    loss = jnp.mean((mlp(params, x)[:, 0] - y) ** 2)
    return loss * 2 if loss > 1 else loss

for x, y, c in batches(3):
    updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
    params = optax.apply_updates(params, updates)
""",
    )
    report = outcome.report
    assert report.watched["steps"] == 24
    assert "could not be traced" in report.watched["limits"]["forward"]
    assert outcome.scope is not None and not outcome.scope.failures
