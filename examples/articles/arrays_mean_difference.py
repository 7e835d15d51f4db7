"""The same numbers, but the loss is the mean of prediction - label: below zero without end, whatever the error.

gradscope check examples/articles/arrays_mean_difference.py --quiet        # diverging-loss
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

model = keras.Sequential(
    [
        keras.Input((2, 2, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu", name="first"),
        keras.layers.Dense(64, activation="relu", name="second"),
        keras.layers.Dense(2, name="output"),
    ]
)
optimizer = keras.optimizers.Adam()


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(x, training=True) - y)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


for epoch in range(20):
    for x, y in batches:
        loss = step(x, y)
    print(f"epoch {epoch}  loss {loss:.4f}")

error = np.mean((model(inputs[200:]) - targets[200:]) ** 2) / targets[200:].var()
print(f"error {error:.3f}")
