"""The same digits by two branches, but the loss reads the convolutions only: the dense branch never reaches it.

gradscope check examples/articles/digits_tape_branch_left_out.py --quiet        # missing-gradient
"""

import os

import digits
import keras
import tensorflow as tf

SEED = int(os.environ.get("SEED", "0"))


class Branches(keras.Model):
    """Scores of a dense branch, and scores of a convolutional one."""

    def __init__(self):
        super().__init__()
        self.flatten, self.pool = keras.layers.Flatten(), keras.layers.MaxPooling2D(4)
        self.dense = keras.layers.Dense(256, activation="relu", name="dense")
        self.scores = keras.layers.Dense(10, name="output")
        self.convolution = keras.layers.Conv2D(16, 3, activation="relu", name="convolution")
        self.convolution_scores = keras.layers.Dense(10, name="convolution_scores")

    def call(self, x):
        convolved = self.flatten(self.pool(self.convolution(x)))
        return self.scores(self.dense(self.flatten(x))), self.convolution_scores(convolved)


keras.utils.set_random_seed(SEED)
(images, labels), (test_images, test_labels) = digits.load(SEED)
model = Branches()
optimizer = keras.optimizers.Adam(0.01)
for epoch in range(5):
    data = tf.data.Dataset.from_tensor_slices((images[..., None], labels)).shuffle(len(images), seed=SEED + epoch)
    for x, y in data.batch(128):
        with tf.GradientTape() as tape:
            dense, convolved = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, convolved))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    print(f"epoch {epoch}  loss {loss:.4f}")

right = tf.argmax(model(test_images[..., None])[0], 1).numpy() == test_labels
print(f"accuracy {right.mean():.3f}")
