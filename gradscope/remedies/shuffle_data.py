"""shuffle-data."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("oscillating-loss", rank=10)
def shuffle_data(_verdict: Verdict, _history: History) -> Remedy | None:
    """Batches drawn at random."""
    return Remedy(
        "shuffle-data",
        "shuffle the training data",
        "each stretch of batches holds one kind of target and undoes what the last one taught",
        {
            "torch": "loader = DataLoader(dataset, batch_size=..., shuffle=True)",
            "tensorflow": "model.fit(x, y, shuffle=True)  # a tf.data.Dataset: .shuffle(len(x)) before .batch()",
            "jax": (
                "order = jax.random.permutation(key, len(x))  # with a new key in every epoch\n"
                "x, y = x[order], y[order]"
            ),
        },
        "Bengio (2012) arXiv:1206.5533, section 2.1",
        cost="none",
        risk="wrong for series whose state is carried from batch to batch",
    )
