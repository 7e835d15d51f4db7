import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

SEED = int(os.environ.get("SEED", 0))
X, y = load_wine(return_X_y=True)
X = scale(X).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=SEED, stratify=y)

WEIGHT_DECAY = 10.0


class Net(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, key):
        a, b, c = jax.random.split(key, 3)
        self.first = eqx.nn.Linear(13, 32, key=a)
        self.second = eqx.nn.Linear(32, 32, key=b)
        self.last = eqx.nn.Linear(32, 3, key=c)

    def __call__(self, x):
        x = jax.nn.leaky_relu(self.first(x))
        x = jax.nn.leaky_relu(self.second(x))
        return self.last(x)


def loss_fn(model, x, y):
    logits = jax.vmap(model)(x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


model = Net(jax.random.key(SEED))
optimizer = optax.adamw(1e-2, weight_decay=WEIGHT_DECAY)
opt_state = optimizer.init(eqx.filter(model, eqx.is_array))


@eqx.filter_jit
def train_step(model, opt_state, x, y):
    loss, grads = eqx.filter_value_and_grad(loss_fn)(model, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, eqx.filter(model, eqx.is_array))
    return eqx.apply_updates(model, updates), opt_state, loss


rng = np.random.default_rng(SEED)
for epoch in range(40):
    for batch in np.array_split(rng.permutation(len(X_train)), 7):
        model, opt_state, loss = train_step(model, opt_state, X_train[batch], y_train[batch])
    if epoch % 10 == 0:
        print(f"epoch {epoch}, loss {loss:.4f}")

logits = jax.vmap(model)(X_test)
print("METRIC log_loss", float(optax.softmax_cross_entropy_with_integer_labels(logits, y_test).mean()))
