"""Transfer: a base learns the ten digits, then stays frozen while a new head learns another question."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
X, digit = load_digits(return_X_y=True)
X = ((X - X.mean()) / X.std()).astype(np.float32)
order = rng.permutation(len(X))
X, digit = X[order], digit[order]
holed = np.isin(digit, [0, 4, 6, 8, 9]).astype(np.int32)
train, test = np.arange(1400), np.arange(1400, len(X))


class Net(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(128, name="base_0")(x))
        x = nn.relu(nn.Dense(64, name="base_1")(x))
        return nn.Dense(self.classes, name="head")(x)


@jax.jit
def train_step(state, x, y):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def fit(state, y, epochs, name):
    for epoch in range(epochs):
        for idx in rng.permutation(train).reshape(-1, 50):
            state, loss = train_step(state, X[idx], y[idx])
        print(f"{name} epoch {epoch} loss {loss:.4f}")
    return state


base = Net(10)
params = base.init(jax.random.key(SEED), X[:1])["params"]
base_state = fit(TrainState.create(apply_fn=base.apply, params=params, tx=optax.adam(2e-3)), digit, 5, "base")

model = Net(2)
fresh = model.init(jax.random.key(SEED + 1), X[:1])["params"]
params = {**base_state.params, "head": fresh["head"]}
labels = {name: "head" if name == "head" else "frozen" for name in params}
tx = optax.multi_transform({"head": optax.adam(5e-3), "frozen": optax.set_to_zero()}, labels)
state = fit(TrainState.create(apply_fn=model.apply, params=params, tx=tx), holed, 8, "head")

prediction = model.apply({"params": state.params}, X[test]).argmax(-1)
print("METRIC accuracy", float((prediction == holed[test]).mean()))
