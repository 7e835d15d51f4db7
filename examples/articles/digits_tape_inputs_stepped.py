"""The same digits, but gradients are taken with respect to the images and applied to them: no weight ever moves.

gradscope check examples/articles/digits_tape_inputs_stepped.py --quiet        # unchanged-parameter
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
        keras.layers.Dense(10, name="output"),
    ]
)
inputs = tf.Variable(tf.zeros((128, 28, 28)))
optimizer = keras.optimizers.Adam(0.01)
for epoch in range(5):
    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=SEED + epoch)
    for x, y in data.batch(128, drop_remainder=True):
        inputs.assign(x)
        with tf.GradientTape() as tape:
            scores = model(inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, scores))
        gradients = tape.gradient(loss, [inputs])
        optimizer.apply_gradients(zip(gradients, [inputs], strict=True))
    print(f"epoch {epoch}  loss {loss:.4f}")

right = tf.argmax(model(test_images), 1).numpy() == test_labels
print(f"accuracy {right.mean():.3f}")
