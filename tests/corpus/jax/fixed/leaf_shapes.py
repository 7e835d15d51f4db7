"""Small conv net on leaf silhouettes; weights and updates as plain pytrees, convolution by lax."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)


def leaves(n):
    kind = rng.integers(0, 4, n)
    yy, xx = np.mgrid[-1:1:14j, -1:1:14j]
    angle = np.arctan2(yy, xx)[None] + rng.uniform(0, 2 * np.pi, n)[:, None, None]
    radius = np.hypot(yy, xx)[None]
    lobes = np.array([0, 2, 3, 5])[kind][:, None, None]
    edge = 0.6 + 0.25 * np.cos(lobes * angle)
    images = (radius < edge).astype(np.float32) + rng.normal(0, 0.15, (n, 14, 14))
    return images[..., None].astype(np.float32) - 0.4, kind


def init(key):
    k1, k2, k3 = jax.random.split(key, 3)
    return {
        "conv1": jax.random.normal(k1, (3, 3, 1, 12)) * (2 / 9) ** 0.5,
        "conv2": jax.random.normal(k2, (3, 3, 12, 16)) * (2 / 108) ** 0.5,
        "dense": jax.random.normal(k3, (7 * 7 * 16, 4)) * (1 / 784) ** 0.5,
        "bias": jnp.zeros(4),
    }


def conv(x, w, stride=1):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def logits(params, x):
    x = jax.nn.relu(conv(x, params["conv1"]))
    x = jax.nn.relu(conv(x, params["conv2"], stride=2))
    return x.reshape(len(x), -1) @ params["dense"] + params["bias"]


def loss_fn(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()


optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.sgd(0.1, momentum=0.9),
)


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


images, kinds = leaves(1600)
test_images, test_kinds = leaves(600)
params = init(jax.random.key(SEED))
opt_state = optimizer.init(params)
for epoch in range(8):
    for idx in rng.permutation(1600).reshape(-1, 50):
        params, opt_state, loss = train_step(params, opt_state, images[idx], kinds[idx])
    print(f"epoch {epoch} loss {loss:.4f}")
print("METRIC accuracy", float((logits(params, test_images).argmax(-1) == test_kinds).mean()))
