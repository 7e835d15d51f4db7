"""lsuv-initialization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import is_network, kinds, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("poor-initialization", "vanishing-gradient", "exploding-gradient", rank=50)
def lsuv_initialization(verdict: Verdict, history: History) -> Remedy | None:
    """Orthogonal weights, scaled layer by layer until a batch leaves each with variance one; not where a gradient
    vanishes in sigmoids, whose slope does that with any weights."""
    if not is_network(history) or recurrent(history):
        return None
    if verdict.name == "vanishing-gradient" and any(k.startswith(("sigmoid", "logsigmoid")) for k in kinds(history)):
        return None
    return Remedy(
        "lsuv-initialization",
        "initialize layer by layer to unit variance, on a batch",
        "measured on data, it fits every activation and every branch, where formulas by fan-in assume one",
        {
            "torch": (
                "def unit_variance(m, _inputs, output):\n"
                "    m.weight.data /= output.std()\n    return output / output.std()\n"
                "chosen = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]\n"
                "for m in chosen:\n    nn.init.orthogonal_(m.weight)\n    nn.init.zeros_(m.bias)\n"
                "hooks = [m.register_forward_hook(unit_variance) for m in chosen]\n"
                "model(x)  # one batch, before the optimizer is made\n"
                "for hook in hooks:\n    hook.remove()"
            ),
            "tensorflow": (
                "for layer in model.layers:  # x: one batch\n"
                '    if hasattr(layer, "kernel"):\n'
                "        layer.kernel.assign(keras.initializers.Orthogonal()(layer.kernel.shape))\n"
                "        layer.kernel.assign(layer.kernel / tf.math.reduce_std(layer(x)))\n"
                "    x = layer(x)"
            ),
            "jax": (
                "w = jax.nn.initializers.orthogonal()(key, (n_in, n_out))\n"
                "w = w / (x @ w).std()  # layer by layer; x: what the layers before make of one batch"
            ),
        },
        "Mishkin & Matas (2016) arXiv:1511.06422",
        cost="one forward pass, once",
        risk="a batch that is not typical sets the scale of all layers",
    )
