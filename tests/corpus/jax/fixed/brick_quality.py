"""Quality of bricks: weight decay for matrices only (flax linen, optax.masked)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
x = rng.normal(size=(2000, 10)).astype(np.float32)
y = np.tanh(1.5 * x[:, 0] + x[:, 1]) + 0.5 * x[:, 2] * x[:, 3] + 0.3 * np.abs(x[:, 4]) + rng.normal(0, 0.1, 2000)
y = ((y - y.mean()) / y.std()).astype(np.float32)
x_train, y_train, x_test, y_test = x[:1600], y[:1600], x[1600:], y[1600:]


class Quality(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (64, 64):
            x = nn.gelu(nn.LayerNorm()(nn.Dense(width)(x)))
        return nn.Dense(1)(x)[:, 0]


model = Quality()
params = model.init(jax.random.key(SEED), x_train[:1])["params"]
is_matrix = jax.tree.map(lambda p: p.ndim > 1, params)
is_vector = jax.tree.map(lambda p: p.ndim <= 1, params)
tx = optax.chain(
    optax.masked(optax.adamw(3e-3, weight_decay=1e-3), is_matrix),
    optax.masked(optax.adam(3e-3), is_vector),
)


@jax.jit
def train_step(params, opt_state, x, y):
    def loss_fn(params):
        return jnp.mean((model.apply({"params": params}, x) - y) ** 2)

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


opt_state = tx.init(params)
for epoch in range(10):
    for idx in rng.permutation(1600).reshape(-1, 40):
        params, opt_state, loss = train_step(params, opt_state, x_train[idx], y_train[idx])
    print(f"epoch {epoch} loss {loss:.5g}")

prediction = model.apply({"params": params}, x_test)
print("METRIC test_mae", float(jnp.abs(prediction - y_test).mean()))
