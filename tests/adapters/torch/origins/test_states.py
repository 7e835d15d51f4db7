"""Models that overwrite in a forward pass what they keep in themselves: the step is run again from what it was."""

from __future__ import annotations

import gradscope
import pytest
import torch
from torch import Tensor, nn

FAILS, BAD = 6, 2


class Stateful(nn.Module):
    """A recurrent network whose hidden state stays from batch to batch, as an attribute or as a buffer."""

    def __init__(self, how: str):
        super().__init__()
        self.stem, self.head, self.how = nn.Linear(4, 8), nn.Linear(8, 1), how
        if how == "attribute":
            self.state = torch.zeros(5, 8)
        else:
            self.register_buffer("state", torch.zeros(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.stem(x) + self.state
        h = mixed / x[:, :1].sign().abs()  # planted: 0 where the first feature is
        if self.how == "in place":
            self.state.copy_(h.detach())
        else:
            self.state = h.detach()
        return self.head(h)


@pytest.mark.parametrize("how", ["attribute", "buffer", "in place"])
def test_what_a_model_overwrites_in_itself_is_put_back_before_it_is_run_again(how: str) -> None:
    torch.manual_seed(0)
    model = Stateful(how)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with gradscope.watch(model, optimizer) as scope:
        for step in range(FAILS + 1):
            x = torch.randn(5, 4)
            x[BAD, 0] = 0.0 if step == FAILS else 1.0
            loss = model(x).sum()
            kept = model.state
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        origin = next(v.origin for v in scope.report().verdicts if v.origin)
        assert scope.failures == {}
    assert (origin.phase, origin.op, origin.step, origin.samples) == ("forward", "div", FAILS, (BAD,))
    assert origin.inputs_finite
    assert model.state is kept
    assert not torch.isfinite(model.state[BAD]).any()


def test_a_model_that_overwrites_nothing_is_asked_nothing_later() -> None:
    from gradscope_torch.replay.states import LOOKS, States

    model, states = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), States()
    for _ in range(LOOKS):
        before = states.note(model)
        model(torch.randn(3, 4))
        assert states.wrote(model, before) == []
    assert states.note(model) == []


class OwnLoss(nn.Module):
    """A model that makes its criterion in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return nn.CrossEntropyLoss(ignore_index=-100)(self.head(self.stem(x)), labels)


def test_a_criterion_made_in_the_forward_pass_is_no_layer() -> None:
    model = OwnLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with gradscope.watch(model, optimizer) as scope:
        model(torch.randn(5, 4), torch.full((5,), -100)).backward()
        optimizer.step()
        origin = next(v.origin for v in scope.report().verdicts if v.origin)
    assert (origin.phase, origin.module, origin.op) == ("loss", "head", "nll_loss")
