import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = int(os.environ.get("SEED", 0))
BATCH = 64
EPOCHS = 12
LEARNING_RATE = 0.3


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(96)(x))
        x = nn.relu(nn.Dense(96)(x))
        x = nn.relu(nn.Dense(48)(x))
        return nn.Dense(10)(x)


def create_state(rng):
    model = Net()
    params = model.init(rng, jnp.ones((1, 64)))["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(LEARNING_RATE))


@jax.jit
def train_step(state, images, labels):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, logits

    (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    accuracy = jnp.mean(jnp.argmax(logits, -1) == labels)
    return state.apply_gradients(grads=grads), loss, accuracy


@jax.jit
def evaluate(state, images, labels):
    logits = state.apply_fn({"params": state.params}, images)
    return jnp.mean(jnp.argmax(logits, -1) == labels)


def main():
    X, y = load_digits(return_X_y=True)
    X = (X / 16.0).astype(np.float32)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=SEED, stratify=y)
    state = create_state(jax.random.PRNGKey(SEED))
    rng = np.random.RandomState(SEED)
    for epoch in range(1, EPOCHS + 1):
        perm = rng.permutation(len(X_train))
        losses, accs = [], []
        for start in range(0, len(perm) - BATCH + 1, BATCH):
            idx = perm[start:start + BATCH]
            state, loss, acc = train_step(state, X_train[idx], y_train[idx])
            losses.append(float(loss))
            accs.append(float(acc))
        print(f"epoch {epoch:2d}  loss {np.mean(losses):.4f}  accuracy {np.mean(accs):.3f}")
    print("METRIC accuracy", float(evaluate(state, X_test, y_test)))


if __name__ == "__main__":
    main()
