"""Digits by convolutions under tf.GradientTape: cross-entropy from scores, Adam, clipping by the global norm.

gradscope check examples/articles/digits_tape_convolution.py --quiet
"""

import os

import digits
import keras
import tensorflow as tf

SEED = int(os.environ.get("SEED", "0"))

keras.utils.set_random_seed(SEED)
(images, labels), (test_images, test_labels) = digits.load(SEED)
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="first"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(32, 3, activation="relu", name="second"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="output"),
    ]
)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 110), global_clipnorm=1.0)


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = cross_entropy(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss, tf.linalg.global_norm(gradients)


for epoch in range(10):
    data = tf.data.Dataset.from_tensor_slices((images[..., None], labels)).shuffle(len(images), seed=SEED + epoch)
    for x, y in data.batch(128):
        loss, total = step(x, y)
    print(f"epoch {epoch}  loss {loss:.4f}  total gradient {total:.4f}")

right = tf.argmax(model(test_images[..., None]), 1).numpy() == test_labels
print(f"accuracy {right.mean():.3f}")
