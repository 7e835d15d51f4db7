"""Programs that fail, as two files: model.py, which is all that a replay gets beside the bundle, and train.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HEAD = """
import torch
from torch import nn
from torch.nn import functional as F
import gradscope
import model as models

torch.manual_seed(0)
x = torch.rand(8, 4) + 0.5
y = torch.rand(8, 2)
"""
LOOP = """
net = models.Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
scope = gradscope.watch(net, optimizer, on_nonfinite_save="saved")
for step in range(4):
    optimizer.zero_grad()
    {body}
    optimizer.step()
scope.close()
assert not scope.failures, scope.failures
"""
NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head({inner})
"""
PLAIN = NET.format(inner="torch.tanh(self.stem(x))")


@dataclass(frozen=True, slots=True)
class Failing:
    """model, train: the text of the files. origin: what it must say. spec: what is asked for of the file."""

    model: str
    train: str
    origin: dict[str, Any]
    spec: str = "model.py"
    step: int = 2
    samples: list[int] = field(default_factory=list)


def looped(*lines: str) -> str:
    """A training of these lines, from after zero_grad() to before step()."""
    return HEAD + LOOP.format(body="\n    ".join(lines))


PROGRAMS = {
    "forward": Failing(
        NET.format(inner="torch.sqrt(self.stem(x) + 100)"),
        looped("x[5] = -1e6 if step == 2 else 0.5", "(net(x) - y).square().mean().backward()"),
        {"phase": "forward", "op": "sqrt", "source": "model.py:12"},
        samples=[5],
    ),
    "loss": Failing(
        PLAIN,
        looped("scale = torch.tensor(0.0 if step == 2 else 1.0)", "F.mse_loss(net(x) / scale, y).backward()"),
        {"phase": "loss", "op": "div", "reason": "division by 0"},
    ),
    "backward": Failing(
        NET.format(inner="self.stem(x).square().sum(-1, keepdim=True).sqrt().expand(-1, 6)"),
        looped(
            "with torch.no_grad():",
            "    net.stem.bias.zero_()",
            "given = x * (step != 2)",
            "F.mse_loss(net(given), y).backward()",
        ),
        {"phase": "backward", "op": "sqrt", "parameter": "stem.weight"},
    ),
    "input": Failing(
        PLAIN,
        looped("x[3, 1] = float('nan') if step == 2 else 0.5", "F.mse_loss(net(x), y).backward()"),
        {"phase": "input", "culprit": "x", "features": [1]},
        samples=[3],
    ),
    "a target of the user's variable": Failing(
        PLAIN,
        looped(
            "goals = y.clone()",
            "goals[1, 0] = float('inf') if step == 2 else 0.5",
            "((net(x) - goals) ** 2).mean().backward()",
        ),
        {"phase": "loss", "culprit": "goals"},
        samples=[1],
    ),
    "dropout": Failing(
        NET.format(inner="self.divided(nn.functional.dropout(torch.sigmoid(self.stem(x)), 0.7, self.training))")
        + """
    def divided(self, hidden):
        return hidden / hidden.detach().sum(-1, keepdim=True)
""",
        looped("F.mse_loss(net(x), y).backward()"),
        {"phase": "forward", "op": "div", "reason": "division by 0"},
    ),
    "accumulation": Failing(
        NET.format(inner="torch.log(self.stem(x) + 100)"),
        looped(
            "for part in range(3):",
            "    given = torch.rand(2, 4)",
            "    given[1] = -1e6 if step == 2 and part == 1 else 0.5",
            "    (F.mse_loss(net(given), y[:2]) / 3).backward()",
        ),
        {"phase": "forward", "op": "log", "micro_batch": 1},
        samples=[1],
    ),
    "autocast": Failing(
        NET.format(inner="torch.log(1 - torch.sigmoid(self.stem(x) * 0.01 + 8))"),
        looped("with torch.autocast('cpu', torch.bfloat16):", "    out = net(x)", "F.mse_loss(out, y).backward()"),
        {"phase": "forward", "op": "log"},
        step=0,
    ),
    "a function of one's own": Failing(
        NET.format(inner="self.stem(x).square().sum(-1, keepdim=True).sqrt().expand(-1, 6)"),
        HEAD
        + """
class Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, left, right):
        return (left - right).square().mean()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.ones(8, 2), None

"""
        + LOOP.format(
            body="net.stem.bias.data.mul_(step != 2)\n    Distance.apply(net(x * (step != 2)), y).backward()"
        ),
        {"phase": "backward", "op": "sqrt", "parameter": "stem.weight"},
    ),
    "ties, buffers and modes": Failing(
        """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.normal = nn.BatchNorm1d(4, momentum=0.5)
        self.drop = nn.Dropout(0.5)
        self.code, self.back = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.back.weight = self.code.weight
        self.register_buffer("limit", torch.ones(4), persistent=False)
        self.beside = [nn.Linear(4, 2)]

    def forward(self, x):
        hidden = self.back(self.drop(self.code(self.normal(x))))
        return self.beside[0](hidden / self.limit)


def build_model():
    torch.manual_seed(77)
    return Net()
""",
        looped("net.drop.eval()", "net.limit[2] = float(step != 2)", "F.mse_loss(net(x), y).backward()"),
        {"phase": "forward", "op": "div", "reason": "division by 0"},
    ),
    "two models": Failing(
        """
from torch import nn


class Half(nn.Sequential):
    def __init__(self, wide, high):
        super().__init__(nn.Linear(wide, high), nn.Tanh())


def build_models():
    return {"decoder": Half(3, 2), "encoder": Half(4, 3)}
""",
        HEAD
        + """
encoder, decoder = models.Half(4, 3), models.Half(3, 2)
optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1)
scope = gradscope.watch([encoder, decoder], optimizer, on_nonfinite_save="saved")
for step in range(4):
    optimizer.zero_grad()
    if step == 2:
        with torch.no_grad():
            decoder[0].weight[0, 0] = float("nan")
    F.mse_loss(decoder(encoder(x)), y).backward()
    optimizer.step()
scope.close()
assert not scope.failures, scope.failures
""",
        {"phase": "parameter", "parameter": "decoder.0.weight", "module": "decoder.0"},
    ),
    "one of two models": Failing(
        """
from torch import nn

critic = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
""",
        HEAD
        + """
critic, other = models.critic, nn.Linear(4, 2)
optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
scope = gradscope.watch([critic, other], optimizer, on_nonfinite_save="saved", on_nonfinite="raise")
try:
    F.mse_loss(critic(x) * 1e38 * 1e38, y).backward()
    optimizer.step()
except gradscope.NonFiniteError:
    pass
scope.close()
assert not scope.failures, scope.failures
""",
        {"phase": "loss", "op": "mul"},
        step=0,
    ),
    "compiled, with checkpoints": Failing(
        NET.format(inner="torch.log(torch.utils.checkpoint.checkpoint(self.half, x, use_reentrant=False))")
        + """
    def half(self, x):
        return nn.functional.dropout(torch.sigmoid(self.stem(x)), 0.1)
""",
        looped("F.mse_loss(compiled(x), y).backward()").replace(
            "optimizer =", "compiled = torch.compile(net, backend='eager')\noptimizer ="
        ),
        {"phase": "forward", "op": "log", "reason": "logarithm of 0"},
        step=0,
    ),
    "BERT": Failing(
        """
from torch import nn
from transformers import BertConfig, BertModel


class Sharp(nn.Module):
    def __init__(self):
        super().__init__()
        shape = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
        self.bert = BertModel(BertConfig(vocab_size=40, max_position_embeddings=16, **shape))
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask, labels=None):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = (hidden * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)
        logits = self.head(pooled)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
""",
        HEAD
        + LOOP.replace("models.Net()", "models.Sharp()").format(
            body="""ids = torch.randint(0, 40, (4, 6))
    mask = torch.ones(4, 6, dtype=torch.long)
    mask[3] = int(step != 2)
    net(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 0, 1]))["loss"].backward()"""
        ),
        {"phase": "forward", "op": "div", "module_class": "Sharp"},
        samples=[3],
    ),
    "arguments by name, in containers": Failing(
        """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 2)

    def forward(self, batch, *, options, keep=None):
        hidden = self.stem(batch["x"]) * options[0]
        return {"out": self.head(hidden[keep] / batch["share"][keep]), "scale": options[1]}
""",
        looped(
            "share = torch.ones(8, 1) * (step != 2)",
            "out = net({'x': x, 'share': share}, options=(1.0, [2, None, float('inf')]), keep=slice(0, 4))",
            "F.huber_loss(out['out'][:, 0], y[:4, 1], delta=0.5).backward()",
        ),
        {"phase": "forward", "op": "div", "reason": "division by 0"},
    ),
}
