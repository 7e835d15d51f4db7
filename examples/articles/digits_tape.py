"""Digits by a dense network under tf.GradientTape, with the total gradient and that of each variable on the way.

The learning rate falls from 0.01, batches grow from 64 to 128, two of them are accumulated for each step, and batch
normalization keeps the steps of that rate sound.

gradscope check examples/articles/digits_tape.py --quiet
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
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(256, use_bias=False, name="hidden"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.ReLU(),
        keras.layers.Dense(10, name="output"),
    ]
)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 20, 0.8))


@tf.function
def gradients_of(x, y):
    with tf.GradientTape() as tape:
        loss = cross_entropy(y, model(x, training=True))
    return loss, tape.gradient(loss, model.trainable_variables)


for epoch in range(12):
    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=SEED + epoch)
    kept = None
    for x, y in data.batch(64 if epoch < 6 else 128, drop_remainder=True):
        loss, gradients = gradients_of(x, y)
        if kept is None:
            kept = gradients
            continue
        gradients = [(first + second) / 2 for first, second in zip(kept, gradients, strict=True)]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        kept = None
    each = "  ".join(f"{v.path} {tf.norm(g):.4f}" for v, g in zip(model.trainable_variables, gradients, strict=True))
    print(f"epoch {epoch}  loss {loss:.4f}  total gradient {tf.linalg.global_norm(gradients):.4f}  {each}")

right = tf.argmax(model(test_images), 1).numpy() == test_labels
print(f"accuracy {right.mean():.3f}")
