"""The same digits, but what a softmax put out enters a cross-entropy that applies softmax itself.

gradscope check examples/articles/digits_tape_softmax_twice.py --quiet        # output-loss-mismatch
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
        keras.layers.Dense(256, activation="relu", name="hidden"),
        keras.layers.Dense(10, activation="softmax", name="output"),
    ]
)
optimizer = keras.optimizers.Adam(0.01)


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        probabilities = model(x, training=True)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=tf.one_hot(y, 10), logits=probabilities))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


for epoch in range(12):
    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=SEED + epoch)
    for x, y in data.batch(128):
        loss = step(x, y)
    print(f"epoch {epoch}  loss {loss:.4f}")

right = tf.argmax(model(test_images), 1).numpy() == test_labels
print(f"accuracy {right.mean():.3f}")
