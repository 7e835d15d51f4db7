"""The handwritten digits of scikit-learn, 8x8, enlarged to 28x28: each pixel three by three, a border of two."""

import numpy as np
from sklearn.datasets import load_digits


def load(seed, train=1400):
    """((images, labels) to train on, (images, labels) to test on), shuffled; images float32 in [0, 1], (n, 28, 28)."""
    digits = load_digits()
    images = np.kron(digits.images / 16, np.ones((1, 3, 3))).astype("f4")
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], digits.target[order]
    return (images[:train], labels[:train]), (images[train:], labels[train:])
