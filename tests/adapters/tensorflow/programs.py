"""Small Keras and TensorFlow programs, sick and sound, as texts."""

from __future__ import annotations

import warnings
from pathlib import Path

from gradscope.check import check_script
from gradscope.report import Report
from gradscope.settings import Settings

HEAD = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(512, 8)).astype("float32")
line = (x @ rng.normal(size=(8, 1))).astype("float32")
label = (line[:, 0] > 0).astype("int32")
"""


def check(tmp_path: Path, body: str, steps: int = 100) -> Report:
    """Checks a program, in this process."""
    file = tmp_path / "train.py"
    file.write_text(HEAD + body)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as for a user: what Keras warns of is no error
        outcome = check_script(file, [], Settings(steps=steps), quiet=True)
    assert outcome.failure is None, outcome.failure
    return outcome.report


def names(report: Report) -> list[str]:
    """The names of errors and warnings, in their order."""
    return [v.name for v in report.verdicts if v.severity != "info"]
