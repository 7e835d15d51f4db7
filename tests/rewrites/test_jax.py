"""Remedies written into JAX programs: few of them are, and the others say so."""

import pytest
from gradscope.builtin import rewrites
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

STEP = """import jax
import jax.numpy as jnp
import optax

tx = optax.adam(1e-1)


def loss_fn(p, x, y):
    return jnp.mean(-jnp.log(model(p, x)) * y)
"""


def test_the_learning_rate_is_that_of_optax():
    assert changes(STEP, treated("lower-learning-rate", STEP, {"rate": 0.01}, framework="jax")) == [
        "tx = optax.adam(0.01)"
    ]


def test_a_rate_of_a_step_by_hand_is_told_by_its_name():
    text = "import jax\nrate = 10.0\nparams = jax.tree.map(lambda p, g: p - rate * g, params, grads)\n"
    assert changes(text, treated("lower-learning-rate", text, {"rate": 0.01}, framework="jax")) == ["rate = 0.01"]


def test_clipping_is_chained_before_the_optimizer():
    assert changes(STEP, treated("clip-gradient-norm", STEP, {"max_norm": 2.0}, framework="jax")) == [
        "tx = optax.chain(optax.clip_by_global_norm(2), optax.adam(1e-1))"
    ]


def test_logarithms_are_kept_away_from_zero():
    assert changes(STEP, treated("add-epsilon", STEP, framework="jax")) == [
        "return jnp.mean(-jnp.log(jnp.maximum(model(p, x), 1e-7)) * y)"
    ]


def test_prediction_and_target_are_flattened():
    text = "import jax.numpy as jnp\nloss = jnp.mean((model(x) - y) ** 2)\n"
    assert changes(text, treated("match-shapes", text, framework="jax", line=2)) == [
        "loss = jnp.mean((jnp.reshape(model(x), [-1]) - jnp.reshape(y, [-1])) ** 2)"
    ]


@pytest.mark.parametrize("name", [n for n, r in rewrites().items() if "jax" not in r.frameworks])
def test_the_others_are_told_not_to_be_written(name):
    with pytest.raises(CannotApply, match="gradscope writes it into programs of torch and tensorflow alone"):
        treated(name, STEP, framework="jax")
