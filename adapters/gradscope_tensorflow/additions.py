"""Additions: the layers that remedies put into a model, and a loss whose gradient is another than its own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Crop(keras.layers.Layer):
    """Moves each image [N, H, W, C] by up to `padding` pixels while it trains; zeros come in from outside."""

    def __init__(self, padding: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = padding

    def call(self, images: Any, training: bool | None = None) -> Any:
        """The images, moved in training mode."""
        if not training:
            return images
        p, size = self.padding, tf.shape(images)
        padded = tf.pad(images, [[0, 0], [p, p], [p, p], [0, 0]])
        corners = tf.random.uniform((size[0], 2), 0, 2 * p + 1, tf.int32)

        def cut(given: Any) -> Any:
            image, corner = given
            return tf.slice(image, tf.concat([corner, [0]], 0), size[1:])

        return tf.map_fn(cut, (padded, corners), fn_output_signature=images.dtype)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "padding": self.padding}


def with_gradient_of(value: Any, other: Any) -> Any:
    """A loss that is worth `value` and has the gradient of `other`."""
    return other + tf.stop_gradient(value - other)
