"""repel-outputs."""

from __future__ import annotations

from gradscope.fit import main_site
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("collapsed-output", rank=10)
def repel_outputs(_verdict: Verdict, history: History) -> Remedy | None:
    """A loss that a constant does not satisfy; where outputs are compared with each other and not with targets."""
    sites = history["loss"].subjects
    if main_site(history) is not None or any(not s.traits.get("target_carries_gradient") for s in sites):
        return None
    return Remedy(
        "repel-outputs",
        "add a term that keeps outputs apart",
        "attraction alone is smallest when all outputs are one point; a contrastive or variance term forbids that",
        {
            "torch": (
                "logits = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / 0.2\n"
                "loss = F.cross_entropy(logits, torch.arange(len(z1)))"
            ),
            "tensorflow": (
                "logits = tf.matmul(tf.nn.l2_normalize(z1, 1), tf.nn.l2_normalize(z2, 1), transpose_b=True) / 0.2\n"
                "loss = keras.losses.sparse_categorical_crossentropy(tf.range(len(z1)), logits, from_logits=True)"
            ),
            "jax": (
                "z1, z2 = (z / jnp.linalg.norm(z, axis=1, keepdims=True) for z in (z1, z2))\n"
                "scores = z1 @ z2.T / 0.2\n"
                "loss = optax.softmax_cross_entropy_with_integer_labels(scores, jnp.arange(len(z1))).mean()"
            ),
        },
        "van den Oord et al. (2018) arXiv:1807.03748; Bardes et al. (2022) arXiv:2105.04906",
        cost="a matrix of all pairs in a batch",
        risk="small batches give few pairs to keep apart",
        settings={"temperature": 0.2},
    )
