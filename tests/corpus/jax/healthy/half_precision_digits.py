"""Digits in float16 with a dynamic loss scale; the first steps overflow and are skipped."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
X, y = load_digits(return_X_y=True)
X = ((X - 5) / 6).astype(np.float32)
order = rng.permutation(len(X))
X, y = X[order], y[order]


def init(key):
    k1, k2, k3 = jax.random.split(key, 3)
    he = jax.nn.initializers.he_normal()
    return {"w1": he(k1, (64, 96)), "w2": he(k2, (96, 96)), "w3": he(k3, (96, 10)), "b": jnp.zeros(10)}


def logits(params, x):
    p = jax.tree.map(lambda a: a.astype(jnp.float16), params)
    x = jax.nn.relu(x.astype(jnp.float16) @ p["w1"])
    x = jax.nn.relu(x @ p["w2"])
    return (x @ p["w3"] + p["b"]).astype(jnp.float32)


tx = optax.adam(1e-3)


@jax.jit
def train_step(params, opt_state, scale, good, x, y):
    def scaled_loss(params):
        loss = optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()
        return loss * scale, loss

    (_, loss), grads = jax.value_and_grad(scaled_loss, has_aux=True)(params)
    grads = jax.tree.map(lambda g: g / scale, grads)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)]))
    updates, new_state = tx.update(grads, opt_state, params)
    new_params = optax.apply_updates(params, updates)
    params, opt_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), (new_params, new_state), (params, opt_state))
    good = jnp.where(finite, good + 1, 0)
    scale = jnp.where(finite, jnp.where(good % 200 == 0, scale * 2, scale), scale / 2)
    return params, opt_state, scale, good, loss


params = init(jax.random.key(SEED))
opt_state, scale, good = tx.init(params), jnp.float32(2.0**24), jnp.int32(0)
for epoch in range(15):
    for idx in rng.permutation(1400).reshape(-1, 56):
        params, opt_state, scale, good, loss = train_step(params, opt_state, scale, good, X[idx], y[idx])
    if epoch % 5 == 0:
        print(f"epoch {epoch} loss {loss:.4f} scale {scale:.0f}")
print("METRIC accuracy", float((logits(params, X[1400:]).argmax(-1) == y[1400:]).mean()))
