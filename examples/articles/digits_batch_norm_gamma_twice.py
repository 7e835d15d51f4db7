"""The same digits, but gamma is created twice: the first copy is registered with the layer and never used.

gradscope check examples/articles/digits_batch_norm_gamma_twice.py --quiet        # missing-gradient
"""

import os

import digits
import keras
import tensorflow as tf

SEED = int(os.environ.get("SEED", "0"))


class BatchNorm(keras.layers.Layer):
    """Batch normalization over every axis but the last, whose second gamma hides the first one."""

    def __init__(self, momentum=0.9, epsilon=1e-5):
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")
        self.mean = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False, name="moving_mean")
        self.variance = self.add_weight(shape=shape[-1:], initializer="ones", trainable=False, name="moving_variance")

    def call(self, x, training=False):
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(x, axes=list(range(len(x.shape) - 1)))
            self.mean.assign(self.momentum * self.mean + (1 - self.momentum) * mean)
            self.variance.assign(self.momentum * self.variance + (1 - self.momentum) * variance)
        return self.gamma * (x - mean) / tf.sqrt(variance + self.epsilon) + self.beta


keras.utils.set_random_seed(SEED)
(images, labels), (test_images, test_labels) = digits.load(SEED)

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        BatchNorm(),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(images[..., None], labels, batch_size=128, epochs=10, verbose=2)
accuracy = model.evaluate(test_images[..., None], test_labels, verbose=0)[1]
print(f"accuracy {accuracy:.3f}")
