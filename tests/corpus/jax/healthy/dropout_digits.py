"""Digits with strong dropout (flax linen, a dropout key in the TrainState)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = int(os.environ.get("SEED", 0))


class TrainState(train_state.TrainState):
    key: jax.Array


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, training: bool):
        x = nn.Dropout(0.2, deterministic=not training)(x)
        for _ in range(2):
            x = nn.relu(nn.Dense(160)(x))
            x = nn.Dropout(0.5, deterministic=not training)(x)
        return nn.Dense(10)(x)


@jax.jit
def train_step(state, images, labels):
    dropout_key = jax.random.fold_in(state.key, state.step)

    def loss_fn(params):
        logits = state.apply_fn({"params": params}, images, training=True, rngs={"dropout": dropout_key})
        one_hot = optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.05)
        return optax.softmax_cross_entropy(logits, one_hot).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split((X / 16).astype(np.float32), y, test_size=0.3, random_state=SEED)
    model = Net()
    params_key, dropout_key = jax.random.split(jax.random.key(SEED))
    variables = model.init(params_key, X_train[:1], training=False)
    state = TrainState.create(apply_fn=model.apply, params=variables["params"], key=dropout_key, tx=optax.adam(2e-3))
    rng = np.random.default_rng(SEED)
    for epoch in range(15):
        for idx in np.array_split(rng.permutation(len(X_train)), 25):
            state, loss = train_step(state, X_train[idx], y_train[idx])
        if epoch % 5 == 4:
            print("epoch", epoch + 1, "loss", float(loss))
    logits = state.apply_fn({"params": state.params}, X_test, training=False)
    print("METRIC accuracy", float((logits.argmax(-1) == y_test).mean()))


if __name__ == "__main__":
    main()
