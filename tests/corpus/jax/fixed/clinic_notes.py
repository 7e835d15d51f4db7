"""Urgency of a visit from earlier visits by attention pooling; new patients have none (equinox)."""
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
VISITS, FEATURES = 6, 5
rng = np.random.default_rng(SEED)


def patients(n):
    visits = rng.normal(size=(n, VISITS, FEATURES)).astype(np.float32)
    count = rng.integers(0, VISITS + 1, n)
    mask = np.arange(VISITS) < count[:, None]
    worst = np.where(mask, visits[..., 0] + 0.5 * visits[..., 1], -9).max(1)
    return visits * mask[..., None], mask, (worst > 0.9).astype(np.float32)


class Pooling(eqx.Module):
    encode: eqx.nn.MLP
    attend: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, key):
        k1, k2, k3 = jax.random.split(key, 3)
        self.encode = eqx.nn.MLP(FEATURES, 32, 32, 1, key=k1)
        self.attend = eqx.nn.Linear(32, 1, key=k2)
        self.out = eqx.nn.Linear(32, 1, key=k3)

    def __call__(self, visits, mask):
        h = jax.vmap(self.encode)(visits)
        scores = jax.vmap(self.attend)(h)[:, 0]
        weights = jax.nn.softmax(jnp.where(mask, scores, -1e9)) * mask
        return self.out(weights @ h)[0]


@eqx.filter_value_and_grad
def loss_fn(model, visits, mask, urgent):
    return optax.sigmoid_binary_cross_entropy(jax.vmap(model)(visits, mask), urgent).mean()


model = Pooling(jax.random.key(SEED))
tx = optax.adamw(3e-3)
opt_state = tx.init(eqx.filter(model, eqx.is_array))


@eqx.filter_jit(donate="all")
def train_step(model, opt_state, batch):
    loss, grads = loss_fn(model, *batch)
    updates, opt_state = tx.update(grads, opt_state, eqx.filter(model, eqx.is_array))
    return eqx.apply_updates(model, updates), opt_state, loss


for step in range(400):
    model, opt_state, loss = train_step(model, opt_state, patients(64))
    if step % 80 == 0:
        print(f"step {step} loss {loss:.4f}")

visits, mask, urgent = patients(1000)
predicted = jax.vmap(model)(visits, mask) > 0
balanced = np.mean([(np.asarray(predicted)[urgent == c] == c).mean() for c in (0, 1)])
print("METRIC balanced_accuracy", float(balanced))
