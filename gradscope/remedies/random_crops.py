"""random-crops."""

from __future__ import annotations

from gradscope.gap import gap_reason
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

PADDING = 4
"""Pixels: the usual for images of 32."""


@remedy(rank=85, usual={"padding": PADDING})
def random_crops(_verdict: Verdict | None, history: History) -> Remedy | None:
    """Images moved at random. Answers to no rule: what it does shows on held-out data."""
    return Remedy(
        "random-crops",
        f"pad images by {PADDING} pixels and crop them at random while it trains",
        gap_reason(history, "an image that is moved by some pixels shows the same thing: more samples for nothing"),
        {
            "torch": f"crop = torchvision.transforms.RandomCrop(size, padding={PADDING})\nx = crop(x)  # [N, C, H, W]",
            "tensorflow": (
                f"wide = tf.pad(image, [[{PADDING}, {PADDING}], [{PADDING}, {PADDING}], [0, 0]])  # [H, W, C]\n"
                "image = tf.image.random_crop(wide, tf.shape(image))  # in dataset.map, of training data alone"
            ),
            "jax": (
                f"wide = jnp.pad(h, ((0, 0), ({PADDING}, {PADDING}), ({PADDING}, {PADDING}), (0, 0)))  # [N, H, W, C]\n"
                f"top, left = jax.random.randint(key, (2,), 0, 2 * {PADDING} + 1)\n"
                "h = jax.lax.dynamic_slice(wide, (0, top, left, 0), h.shape)"
            ),
        },
        "Krizhevsky et al. (2012) ImageNet classification with deep convolutional neural networks",
        cost="more steps to the same loss",
        risk="wrong where the place of a thing is the answer",
        settings={"padding": PADDING},
    )
