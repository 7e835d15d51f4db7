"""docs/batch-normalization.md: its figures of step 0 are those that benchmarks/remedies.py measures."""

from __future__ import annotations

import re
import runpy
import statistics
from typing import Any

import pytest

from tests.examples.programs import ROOT

pytest.importorskip("torch")
pytest.importorskip("sklearn")

MEASURING: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "remedies.py"))
PAGE = (ROOT / "docs" / "batch-normalization.md").read_text()


def rows(net: str) -> dict[str, list[str]]:
    """The cells of the table of a network, by remedy."""
    part = PAGE.partition(f"### {net}\n")[2].partition("\n#")[0]
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]
    return {name: rest for name, *rest in cells[2:]}


@pytest.mark.parametrize("net", MEASURING["NETS"])
def test_the_gradients_of_step_0_are_as_printed(net: str) -> None:
    assert list(rows(net)) == list(MEASURING["REMEDIES"])
    for name, (first, ratio, *_) in rows(net).items():
        remedy = MEASURING["REMEDIES"][name]
        runs = [MEASURING["train"](MEASURING["NETS"][net], remedy, seed, steps=1) for seed in MEASURING["SEEDS"]]
        assert statistics.median(r.first[0] for r in runs) == pytest.approx(float(first), rel=0.1)
        assert statistics.median(MEASURING["ratio"](r.first) for r in runs) == pytest.approx(float(ratio), rel=0.1)


def test_the_pictures_of_the_page_are_there() -> None:
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", PAGE)
    assert len(pictures) == 2
    for picture in pictures:
        assert "</svg>" in (ROOT / "docs" / picture).read_text()
