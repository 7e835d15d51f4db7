"""Data as .npy files: arrays of 2x2x2 and two numbers that follow from each."""

from pathlib import Path

import numpy as np


def write(folder, seed, count=300):
    """Writes inputs.npy, shape (count, 2, 2, 2), and targets.npy, shape (count, 2), float32; gives their paths.

    The targets are the sum of the products of neighbours and the difference of the halves, each with some noise.
    """
    numbers = np.random.default_rng(seed)
    inputs = numbers.normal(size=(count, 2, 2, 2))
    products = (inputs[:, 0] * inputs[:, 1]).sum((1, 2)) / 2
    difference = (inputs[:, :, :, 0] - inputs[:, :, :, 1]).sum((1, 2)) / 3
    targets = np.stack([products, difference], 1) + 0.05 * numbers.normal(size=(count, 2))
    paths = Path(folder, "inputs.npy"), Path(folder, "targets.npy")
    for path, array in zip(paths, (inputs, targets), strict=True):
        np.save(path, array.astype("f4"))
    return paths
