import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

seed = int(os.environ.get("SEED", 0))

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, 1 - y, test_size=0.25, random_state=seed, stratify=y)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train).astype("float32"), scaler.transform(X_test).astype("float32")


class Classifier(nn.Module):
    hidden: int = 24

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.Dense(1)(x)
        return nn.softmax(x).squeeze(-1)


def bce(p, y):
    p = jnp.clip(p, 1e-6, 1 - 1e-6)
    return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log1p(-p))


model = Classifier()
variables = model.init(jax.random.key(seed), X_train[:1])
tx = optax.adam(1e-3)
opt_state = tx.init(variables)
grad_fn = jax.jit(jax.value_and_grad(lambda v, x, y: bce(model.apply(v, x), y)))

rng = np.random.default_rng(seed)
for epoch in range(1, 21):
    for batch in np.array_split(rng.permutation(len(X_train)), 13):
        loss, grads = grad_fn(variables, X_train[batch], y_train[batch])
        updates, opt_state = tx.update(grads, opt_state)
        variables = optax.apply_updates(variables, updates)
    if epoch % 5 == 0:
        print(f"epoch {epoch}: loss {loss:.4f}")

malignant = np.asarray(model.apply(variables, X_test)) > 0.5
print("METRIC accuracy", float((malignant == y_test).mean()))
