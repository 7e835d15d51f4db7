"""State of a ventilation system from on/off sensors; a whole epoch is one compiled scan."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
N, SENSORS, STATES, BATCH = 2400, 24, 5, 32

world = np.random.default_rng(3)
rates = world.uniform(0.05, 0.6, (STATES, SENSORS))
rates[:, ::6] = 0.01

rng = np.random.default_rng(SEED)
state = rng.integers(0, STATES, N)
signal = (rng.random((N, SENSORS)) < rates[state]).astype(np.float32)
x_train, s_train = jnp.asarray(signal[:1920]), jnp.asarray(state[:1920])
x_test, s_test = signal[1920:], state[1920:]


def standardize(x):
    """Each sensor over the batch."""
    centered = x - x.mean(0)
    return centered / jnp.sqrt(x.var(0) + 1e-2)


def init(key):
    k1, k2, k3 = jax.random.split(key, 3)
    he = jax.nn.initializers.he_normal()
    return {
        "l1": {"w": he(k1, (SENSORS, 48)), "b": jnp.zeros(48)},
        "l2": {"w": he(k2, (48, 48)), "b": jnp.zeros(48)},
        "l3": {"w": he(k3, (48, STATES)), "b": jnp.zeros(STATES)},
    }


def logits(params, x):
    x = standardize(x)
    x = jax.nn.relu(x @ params["l1"]["w"] + params["l1"]["b"])
    x = jax.nn.relu(x @ params["l2"]["w"] + params["l2"]["b"])
    return x @ params["l3"]["w"] + params["l3"]["b"]


def loss_fn(params, batch):
    x, s = batch
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), s).mean()


tx = optax.adam(optax.cosine_decay_schedule(2e-3, 600))


@jax.jit
def run_epoch(carry, key):
    perm = jax.random.permutation(key, len(x_train)).reshape(-1, BATCH)

    def body(carry, idx):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, (x_train[idx], s_train[idx]))
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    return jax.lax.scan(body, carry, perm)


key, sub = jax.random.split(jax.random.key(SEED))
params = init(sub)
carry = (params, tx.init(params))
for epoch in range(10):
    key, sub = jax.random.split(key)
    carry, losses = run_epoch(carry, sub)
    print(f"epoch {epoch}: mean loss {losses.mean():.4f}")

pred = logits(carry[0], x_test).argmax(-1)
print("METRIC accuracy", float((pred == s_test).mean()))
