"""An output that is clamped between 0 and 1 has no slope outside of it."""

import pytest
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

NET = "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return {}\n"


@pytest.mark.parametrize(
    "clamp", ["torch.clamp(self.fc(x), 0, 1)", "self.fc(x).clamp(0, 1)", "self.fc(x).clamp(min=0.0, max=1.0)"]
)
def test_it_becomes_a_sigmoid(clamp):
    text = NET.format(clamp)
    assert changes(text, treated("smooth-operation", text)) == ["return torch.sigmoid(self.fc(x))"]


@pytest.mark.parametrize("clamp", ["self.fc(x).clamp(-1, 1)", "self.fc(x).clamp(min=1e-7)"])
def test_other_bounds_are_left(clamp):
    with pytest.raises(CannotApply, match="no round"):
        treated("smooth-operation", NET.format(clamp))
