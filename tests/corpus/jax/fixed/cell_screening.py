import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import grad, jit, random
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

seed = int(os.environ.get("SEED", 0))
data = load_breast_cancer()
rng = np.random.RandomState(seed)
order = rng.permutation(len(data.target))
train, test = order[:400], order[400:]
scaler = StandardScaler().fit(data.data[train])
X = scaler.transform(data.data).astype(np.float32)
Y = data.target.astype(np.float32)


def init_mlp(key, sizes):
    keys = random.split(key, len(sizes))
    return [(random.normal(k, (m, n)) / np.sqrt(m), jnp.zeros(n)) for k, m, n in zip(keys, sizes[:-1], sizes[1:])]


def probability(params, x):
    *hidden, (w, b) = params
    for wi, bi in hidden:
        x = jax.nn.relu(x @ wi + bi)
    return jax.nn.sigmoid(x @ w + b)[:, 0]


def cross_entropy(params, x, y):
    p = probability(params, x)
    return -jnp.mean(y * jnp.log(p + 1e-7) + (1 - y) * jnp.log(1 - p + 1e-7))


@jit
def sgd(params, velocity, x, y):
    g = grad(cross_entropy)(params, x, y)
    velocity = jax.tree.map(lambda v, d: 0.9 * v - 0.2 * d, velocity, g)
    return jax.tree.map(jnp.add, params, velocity), velocity


params = init_mlp(random.PRNGKey(seed), [30, 32, 32, 1])
velocity = jax.tree.map(jnp.zeros_like, params)
for epoch in range(40):
    rng.shuffle(train)
    for i in range(0, 400, 20):
        batch = train[i:i + 20]
        params, velocity = sgd(params, velocity, X[batch], Y[batch])
    if epoch % 10 == 0:
        print("epoch", epoch, "loss", cross_entropy(params, X[train], Y[train]))

correct = (probability(params, X[test]) > 0.5) == (Y[test] > 0.5)
print("METRIC accuracy", float(correct.mean()))
