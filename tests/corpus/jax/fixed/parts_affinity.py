"""Which parts are ordered together: factors of a matrix of affinities, without any jit."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

seed = int(os.environ.get("SEED", 0))
ROWS, COLS, RANK = 60, 80, 6

world = np.random.default_rng(5)
truth = world.normal(size=(ROWS, 3)) @ world.normal(size=(3, COLS)) / np.sqrt(3)
rng = np.random.default_rng(seed)
seen = rng.random((ROWS, COLS)) < 0.4
values = jnp.asarray(truth + rng.normal(0, 0.1, truth.shape), jnp.float32)
mask = jnp.asarray(seen, jnp.float32)


def init(key):
    k1, k2 = jax.random.split(key)
    return {"row": 0.1 * jax.random.normal(k1, (ROWS, RANK)), "col": 0.1 * jax.random.normal(k2, (COLS, RANK)), "offset": jnp.zeros(())}


def loss_fn(params):
    fitted = params["row"] @ params["col"].T + params["offset"]
    return (mask * (fitted - values) ** 2).sum() / mask.sum()


params = init(jax.random.key(seed))
optimizer = optax.adam(0.02)
opt_state = optimizer.init(params)
for step in range(250):
    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = optimizer.update(grads, opt_state)
    params = optax.apply_updates(params, updates)
    if step % 50 == 0:
        print(f"step {step}: {loss:.5f}")

fitted = np.asarray(params["row"] @ params["col"].T + params["offset"])
print("METRIC held_out_rmse", float(np.sqrt(((fitted - truth)[~seen] ** 2).mean())))
