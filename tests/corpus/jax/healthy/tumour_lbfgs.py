"""Logistic regression with an L2 penalty by full-batch L-BFGS: no learning rate, line search inside."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
X, y = load_breast_cancer(return_X_y=True)
order = rng.permutation(len(X))
X, y = ((X - X.mean(0)) / X.std(0))[order].astype(np.float32), y[order].astype(np.float32)


def init(key):
    k1, k2 = jax.random.split(key)
    return {"w1": jax.random.normal(k1, (30, 8)) / 30**0.5, "w2": jax.random.normal(k2, (8,)) / 8**0.5, "b": jnp.zeros(())}


def logit(params, x):
    return jnp.tanh(x @ params["w1"]) @ params["w2"] + params["b"]


def objective(params):
    data = optax.sigmoid_binary_cross_entropy(logit(params, X[:400]), y[:400]).mean()
    return data + 1e-3 * optax.tree.norm(params, squared=True)


solver = optax.lbfgs(memory_size=10)
value_and_grad = optax.value_and_grad_from_state(objective)


@jax.jit
def step(params, state):
    value, grad = value_and_grad(params, state=state)
    updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=objective)
    return optax.apply_updates(params, updates), state, value


params = init(jax.random.key(SEED))
state = solver.init(params)
for i in range(200):
    params, state, value = step(params, state)
    if i % 40 == 0:
        print(f"iteration {i} objective {value:.6f}")
print("METRIC accuracy", float(((logit(params, X[400:]) > 0) == y[400:]).mean()))
