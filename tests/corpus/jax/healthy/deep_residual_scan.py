"""Twenty-four residual blocks stacked on one axis and run by scan; each starts as the identity."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
DEPTH, WIDTH = 24, 32
rng = np.random.default_rng(SEED)
turn = rng.uniform(0.5, 3.5, 1500)
arm = rng.integers(0, 2, 1500)
angle = 2 * turn + np.pi * arm
X = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1) / 2 + rng.normal(0, 0.03, (1500, 2))
X, y = X.astype(np.float32), arm.astype(np.float32)


def init(key):
    k1, k2, k3 = jax.random.split(key, 3)
    return {
        "stem": jax.random.normal(k1, (2, WIDTH)),
        "blocks": {
            "up": jax.random.normal(k2, (DEPTH, WIDTH, WIDTH)) * (2 / WIDTH) ** 0.5,
            "bias": jnp.zeros((DEPTH, WIDTH)),
            "down": jnp.zeros((DEPTH, WIDTH, WIDTH)),
        },
        "head": jax.random.normal(k3, (WIDTH,)) / WIDTH**0.5,
    }


def logit(params, x):
    @jax.checkpoint
    def block(h, p):
        scale = jax.lax.rsqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-6)
        return h + jax.nn.relu(h * scale @ p["up"] + p["bias"]) @ p["down"], None

    h, _ = jax.lax.scan(block, x @ params["stem"], params["blocks"])
    return h @ params["head"]


tx = optax.adamw(2e-3, weight_decay=1e-3)


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(lambda p: optax.sigmoid_binary_cross_entropy(logit(p, x), y).mean())(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


params = init(jax.random.key(SEED))
opt_state = tx.init(params)
for step in range(600):
    idx = rng.integers(0, 1200, 100)
    params, opt_state, loss = train_step(params, opt_state, X[idx], y[idx])
    if step % 100 == 0:
        print(f"step {step} loss {loss:.4f}")
print("METRIC accuracy", float(((logit(params, X[1200:]) > 0) == y[1200:]).mean()))
