"""What each remedy does to the gradients of deep networks, measured: handwritten digits, 15 hidden layers, 3 seeds.

python benchmarks/remedies.py [--pictures docs/pictures]        # tables in Markdown; a few minutes on one core
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

DEPTH, WIDTH, BATCH, RATE = 15, 64, 128, 0.02
LATER, STEPS, SEEDS = 100, 400, (0, 1, 2)
LARGE = 0.3
"""Deviation of weights that are too large: He initialization has 0.18 here, sqrt(2 / 64)."""


@dataclass(frozen=True, slots=True)
class Net:
    """A kind of network: what its layers apply, and how its weights begin without a remedy."""

    activation: type[nn.Module]
    gain: float
    begin: Callable[[torch.Tensor], object] | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is different from the untreated network."""

    begin: Callable[[torch.Tensor, float], object] | None = None
    normalized: bool = False
    decay: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one training showed. Gradients: RMS of each weight matrix, first layer first, as backward gives them."""

    first: np.ndarray
    later: np.ndarray
    loss: float
    accuracy: float


NETS = {
    "ReLU, weights too large": Net(nn.ReLU, 2**0.5, lambda w: nn.init.normal_(w, std=LARGE)),
    "ReLU": Net(nn.ReLU, 2**0.5),
    "sigmoid": Net(nn.Sigmoid, 1.0),
    "tanh": Net(nn.Tanh, 5 / 3),
}
REMEDIES = {
    "none": Remedy(),
    "batch normalization": Remedy(normalized=True),
    "L2 1e-3": Remedy(decay=1e-3),
    "clipping at norm 1": Remedy(limit=1.0),
    "He": Remedy(begin=lambda w, _: nn.init.kaiming_normal_(w, nonlinearity="relu")),
    "Glorot": Remedy(begin=lambda w, _: nn.init.xavier_normal_(w)),
    "orthogonal": Remedy(begin=nn.init.orthogonal_),
}


def build(net: Net, remedy: Remedy) -> nn.Sequential:
    """The network; its hidden weights begin as the remedy says, else as the network does, else as torch does."""
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        linear = nn.Linear(WIDTH, WIDTH)
        if remedy.begin is not None:
            remedy.begin(linear.weight, net.gain)
        elif net.begin is not None:
            net.begin(linear.weight)
        layers += [linear, *([nn.BatchNorm1d(WIDTH)] if remedy.normalized else []), net.activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def train(net: Net, remedy: Remedy, seed: int, steps: int = STEPS) -> Run:
    """One training by SGD with momentum, judged on digits that it did not see."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.data))
    x = torch.tensor(digits.data[order] / 8 - 1, dtype=torch.float32)
    y = torch.tensor(digits.target[order])
    torch.manual_seed(seed)
    model = build(net, remedy)
    matrices = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=remedy.decay)
    seen: dict[int, np.ndarray] = {}
    for step in range(steps):
        batch = torch.randint(1400, (BATCH,))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        if step in {0, LATER}:
            seen[step] = np.array([w.grad.square().mean().sqrt().item() for w in matrices if w.grad is not None])
        if remedy.limit:
            nn.utils.clip_grad_norm_(model.parameters(), remedy.limit)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        scores = model(x)
        right = (scores[1400:].argmax(1) == y[1400:]).float().mean().item()
        last = nn.functional.cross_entropy(scores[:1400], y[:1400]).item()
    return Run(seen[0], seen.get(LATER, seen[0]), last, right)


def ratio(gradients: np.ndarray) -> float:
    """Gradient of the first layer beside that of the output."""
    return float(gradients[0] / gradients[-1]) if gradients[-1] else float("nan")


def middle(values: Iterable[float], form: str) -> str:
    """The median over seeds, and of how many of them when the others were not finite."""
    given = list(values)
    finite = [v for v in given if np.isfinite(v)]
    if not finite:
        return "not finite"
    lost = f" ({len(given) - len(finite)} of {len(given)} not finite)" if len(finite) < len(given) else ""
    return format(statistics.median(finite), form) + lost


def table(runs: dict[str, list[Run]]) -> str:
    """The runs of one network in Markdown: medians over the seeds."""
    lines = [
        "| remedy | first layer, step 0 | first / output, step 0 | first layer, step 100 | first / output, step 100 "
        "| loss | accuracy (each seed) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in runs.items():
        cells = [
            name,
            middle((r.first[0] for r in found), ".1e"),
            middle((ratio(r.first) for r in found), ".1e"),
            middle((r.later[0] for r in found), ".1e"),
            middle((ratio(r.later) for r in found), ".1e"),
            middle((r.loss for r in found), ".2f"),
            " ".join(f"{r.accuracy:.2f}" for r in found),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: dict[str, dict[str, list[Run]]], folder: Path) -> None:
    """Writes a picture of the gradients of all layers at step 0, and one after 100 steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "remedies", "font.size": 8}
    from matplotlib import pyplot

    for when, title in (("first", "step 0"), ("later", f"step {LATER}")):
        figure, axes = pyplot.subplots(2, 2, figsize=(8, 5.6), sharex=True, layout="constrained")
        for panel, (name, runs) in zip(axes.flat, results.items(), strict=True):
            for remedy, found in runs.items():
                gradients = np.median([getattr(run, when) for run in found], axis=0)
                style = "--" if remedy in {"L2 1e-3", "clipping at norm 1"} else "-"
                panel.plot(range(1, DEPTH + 2), gradients, style, label=remedy, color="k" if remedy == "none" else None)
            panel.set(yscale="log", title=f"{name}, {title}")
        for panel in axes[1]:
            panel.set_xlabel("layer, the output last")
        figure.supylabel("RMS of its gradient")
        figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"gradients-{when}.svg", metadata={"Date": None})
        pyplot.close(figure)


def main() -> None:
    """Trains every network with every remedy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="the folder to write the pictures to (needs matplotlib)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, list[Run]]] = {}
    for name, net in NETS.items():
        results[name] = {n: [train(net, remedy, seed) for seed in SEEDS] for n, remedy in REMEDIES.items()}
        print(f"### {name}\n\n{table(results[name])}\n", flush=True)
    if given.pictures:
        draw(results, given.pictures)


if __name__ == "__main__":
    main()
