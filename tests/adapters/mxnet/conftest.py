"""MXNet 1.9 warns of itself while it is imported: it uses names that numpy 1.23 deprecates."""

import contextlib
import warnings

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    warnings.simplefilter("ignore")
    import mxnet  # noqa: F401
