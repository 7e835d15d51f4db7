"""Soil class from a field survey: acidity, conductivity, altitude, organic share, iron, distance to water."""
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import jit, random, value_and_grad

seed = int(os.environ.get("SEED", 0))
rng = np.random.RandomState(seed)

N = 1500
kind = rng.randint(0, 4, N)
acidity = rng.normal(np.array([5.0, 6.0, 7.0, 6.0])[kind], 0.45)
organic = rng.normal(np.array([0.08, 0.03, 0.03, 0.12])[kind], 0.015)
iron = rng.normal(np.array([1.5, 2.5, 1.0, 1.2])[kind], 0.4)
conductivity = rng.lognormal(6.5, 0.5, N)
altitude = rng.uniform(100, 2400, N)
water = rng.exponential(3000, N)
X = np.stack([acidity, conductivity, altitude, organic, iron, water], axis=1)

train, test = slice(0, 1200), slice(1200, N)
center, spread = X[train].mean(0), X[train].std(0)
X = ((X - center) / spread).astype(np.float32)


def init(key, sizes=(6, 32, 32, 4)):
    params = []
    for m, n in zip(sizes[:-1], sizes[1:]):
        key, sub = random.split(key)
        params.append((random.normal(sub, (m, n)) * np.sqrt(2 / m), np.zeros(n, np.float32)))
    return params


def net(params, x):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


@jit
def sgd_step(params, x, y):
    def nll(params):
        return -jnp.take_along_axis(jax.nn.log_softmax(net(params, x)), y[:, None], axis=1).mean()

    loss, grads = value_and_grad(nll)(params)
    return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), loss


params = init(random.PRNGKey(seed))
for epoch in range(25):
    order = rng.permutation(1200)
    for start in range(0, 1200, 50):
        idx = order[start:start + 50]
        params, loss = sgd_step(params, X[idx], kind[idx])
    if epoch % 5 == 0:
        print("epoch", epoch, "loss", float(loss))

print("METRIC accuracy", float((net(params, X[test]).argmax(1) == kind[test]).mean()))
