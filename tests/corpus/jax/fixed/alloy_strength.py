"""Tensile strength of an alloy from its composition; the hidden layers are stacked and run by scan."""
import os

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import make_friedman1
from sklearn.metrics import r2_score

SEED = int(os.environ.get("SEED", 0))
WIDTH, DEPTH = 64, 8

X, y = make_friedman1(n_samples=1500, n_features=10, noise=0.5, random_state=11)
X = (X - 0.5) / 0.29
y = (y - y[:1200].mean()) / y[:1200].std()
X_train, X_test = jnp.asarray(X[:1200], jnp.float32), jnp.asarray(X[1200:], jnp.float32)
y_train, y_test = jnp.asarray(y[:1200], jnp.float32), y[1200:]


def init_params(key):
    k_in, k_hidden, k_out = jax.random.split(key, 3)
    hidden = jax.random.normal(k_hidden, (DEPTH, WIDTH, WIDTH)) * (2 / WIDTH) ** 0.5
    return {
        "embed": jax.random.normal(k_in, (10, WIDTH)) * (1 / 10) ** 0.5,
        "hidden": {"w": hidden, "b": jnp.zeros((DEPTH, WIDTH))},
        "head": {"w": jax.random.normal(k_out, (WIDTH,)) * (1 / WIDTH) ** 0.5, "b": jnp.zeros(())},
    }


def forward(params, x):
    def block(h, layer):
        return jax.nn.relu(h @ layer["w"] + layer["b"]), None

    h, _ = jax.lax.scan(block, x @ params["embed"], params["hidden"])
    return h @ params["head"]["w"] + params["head"]["b"]


def mse(params, x, y):
    return jnp.mean((forward(params, x) - y) ** 2)


optimizer = optax.adam(1e-3)


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(mse)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


key, init_key = jax.random.split(jax.random.key(SEED))
params = init_params(init_key)
opt_state = optimizer.init(params)
for step in range(400):
    key, sub = jax.random.split(key)
    batch = jax.random.choice(sub, 1200, (64,), replace=False)
    params, opt_state, loss = train_step(params, opt_state, X_train[batch], y_train[batch])
    if step % 50 == 0:
        print(f"step {step} loss {loss:.4g}")

print("METRIC r2", r2_score(y_test, forward(params, X_test)))
