"""Two numbers from arrays of 2x2x2 in .npy files, and the gradient of each layer on the way.

He initialization, L1 and L2 penalties, a falling learning rate and clipping by the global norm keep the gradients of
batches of two in order.

gradscope check examples/articles/arrays_regression.py --quiet
"""

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

import arrays

SEED = int(os.environ.get("SEED", "0"))

keras.utils.set_random_seed(SEED)
with tempfile.TemporaryDirectory() as folder:
    inputs, targets = (np.load(path) for path in arrays.write(folder, SEED))
batches = tf.data.Dataset.from_tensor_slices((inputs[:200], targets[:200])).shuffle(200, seed=SEED).batch(2)

careful = {"kernel_initializer": "he_normal", "kernel_regularizer": keras.regularizers.L1L2(l1=1e-5, l2=1e-5)}
model = keras.Sequential(
    [
        keras.Input((2, 2, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu", name="first", **careful),
        keras.layers.Dense(64, activation="relu", name="second", **careful),
        keras.layers.Dense(2, name="output", **careful),
    ]
)
rate = keras.optimizers.schedules.CosineDecay(1e-3, decay_steps=20 * 100)
optimizer = keras.optimizers.Adam(rate, global_clipnorm=5.0)


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=True) - y)) + tf.add_n(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss, [tf.norm(gradient) for gradient in gradients]


for epoch in range(20):
    for x, y in batches:
        loss, norms = step(x, y)
    kernels = [float(norm) for norm in norms[::2]]
    print(f"epoch {epoch}  loss {loss:.4f}  gradients of the layers", " ".join(f"{norm:.3f}" for norm in kernels))

error = np.mean((model(inputs[200:]) - targets[200:]) ** 2) / targets[200:].var()
print(f"error {error:.3f}")
