"""Remedies written into PyTorch programs: each changes the lines that it is about, and no other."""

import pytest
from gradscope.builtin import rewrites
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

LOOP = """import torch
from torch import nn
import torch.nn.functional as F

model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
criterion = nn.MSELoss()
for x, y in loader:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
"""
ANEW = [
    "for module in model.modules():",
    "if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):",
    "{}",
    "if module.bias is not None:",
    "nn.init.zeros_(module.bias)",
]
TABLE = [
    (
        "lower-learning-rate",
        {"rate": 0.01},
        ["optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.5)"],
    ),
    ("raise-learning-rate", {"rate": 1.0}, ["optimizer = torch.optim.SGD(model.parameters(), lr=1, weight_decay=0.5)"]),
    ("weaken-penalty", {}, ["optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.0001)"]),
    ("weight-decay", {"decay": 0.01}, ["optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)"]),
    ("clip-gradient-norm", {"max_norm": 2.0}, ["nn.utils.clip_grad_norm_(model.parameters(), 2)"]),
    ("clip-gradient-value", {"max_value": 0.5}, ["nn.utils.clip_grad_value_(model.parameters(), 0.5)"]),
    ("he-initialization", {}, [x.format('nn.init.kaiming_normal_(module.weight, nonlinearity="relu")') for x in ANEW]),
    ("glorot-initialization", {}, [x.format("nn.init.xavier_uniform_(module.weight)") for x in ANEW]),
    ("orthogonal-initialization", {}, [x.format("nn.init.orthogonal_(module.weight)") for x in ANEW]),
    (
        "replace-activation",
        {"activation": "relu"},
        ["model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())"],
    ),
    (
        "batch-normalization",
        {},
        ["model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())"],
    ),
    (
        "layer-normalization",
        {},
        ["model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())"],
    ),
    (
        "rms-normalization",
        {},
        ["model = nn.Sequential(nn.Linear(4, 8), nn.RMSNorm(8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())"],
    ),
    ("open-output", {}, ["model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 1))"]),
    ("correct-output", {"output": "linear"}, ["model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 1))"]),
    (
        "warm-up",
        {"steps": 20},
        [
            "schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 20))",
            "schedule.step()",
        ],
    ),
    (
        "replace-optimizer",
        {"optimizer": "Adam", "rate": 1e-3},
        ["optimizer = torch.optim.Adam(model.parameters(), lr=0.001)"],
    ),
    (
        "scale-target",
        {"mean": 50.0, "deviation": 20.0},
        [
            "model.register_forward_hook(lambda _model, _given, output: output * 20 + 50)"
            "  # in the units of the targets",
            "(loss * 0.0025).backward()",
        ],
    ),
]


@pytest.mark.parametrize(("name", "settings", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_a_remedy_changes_these_lines(name, settings, expected):
    assert changes(LOOP, treated(name, LOOP, settings)) == expected


def test_the_learning_rate_is_changed_where_it_is_written_once():
    text = "import torch\nlr = 3.0\nopt = torch.optim.SGD(net.parameters(), lr=lr)\n"
    assert changes(text, treated("lower-learning-rate", text, {"rate": 0.1})) == ["lr = 0.1"]


def test_the_learning_rate_of_a_table_is_changed_there():
    text = "import torch\nconfig = {'lr': 3.0}\nopt = torch.optim.SGD(net.parameters(), config['lr'])\n"
    assert changes(text, treated("lower-learning-rate", text, {"rate": 0.1})) == ["config = {'lr': 0.1}"]


def test_trainers_are_told_by_their_arguments():
    text = "import lightning\ntrainer = lightning.Trainer(max_epochs=3)\n"
    found = treated("clip-gradient-norm", text, {"max_norm": 2.0})
    assert changes(text, found) == ["trainer = lightning.Trainer(max_epochs=3, gradient_clip_val=2)"]
    text = "args = TrainingArguments(output_dir='x', learning_rate=5.0)\n"
    assert changes(text, treated("lower-learning-rate", text, {"rate": 0.1})) == [
        "args = TrainingArguments(output_dir='x', learning_rate=0.1)"
    ]
    assert changes(text, treated("clip-gradient-norm", text, {"max_norm": 2.0})) == [
        "args = TrainingArguments(output_dir='x', learning_rate=5.0, max_grad_norm=2)"
    ]


def test_a_step_by_hand_has_its_rate_in_a_name():
    text = "import torch\nstep_size = 2.0\nw -= step_size * w.grad\n"
    assert changes(text, treated("lower-learning-rate", text, {"rate": 0.1})) == ["step_size = 0.1"]


def test_gradients_are_cleared_before_every_backward_pass():
    text = LOOP.replace("    optimizer.zero_grad()\n", "")
    assert treated("add-zero-grad", text) == text.replace(
        "    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()"
    )


def test_a_clearing_between_backward_and_step_is_moved():
    right = "    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()\n"
    wrong = "    loss.backward()\n    optimizer.zero_grad()\n    optimizer.step()\n"
    text = LOOP.replace("    optimizer.zero_grad()\n", "", 1).replace(
        "    loss.backward()\n    optimizer.step()\n", wrong
    )
    assert right in treated("register-parameter", text, quantity="gradients cleared between backward and step")


def test_layers_in_a_plain_list_become_a_module_list():
    text = (
        "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layers = []\n        self.sizes = [1, 2]\n        for n in self.sizes:\n"
        "            self.layers.append(torch.nn.Linear(n, n))\n"
    )
    found = treated("register-parameter", text, quantity="in no optimizer")
    assert changes(text, found) == ["self.layers = torch.nn.ModuleList([])"]


def test_a_module_that_is_called_and_in_no_optimizer_is_handed_over():
    text = (
        "import torch\nencoder = torch.nn.Linear(4, 2)\ndecoder = torch.nn.Linear(2, 4)\nloss_fn = torch.nn.MSELoss()\n"
        "opt = torch.optim.Adam(encoder.parameters(), lr=1e-3)\nloss = loss_fn(decoder(encoder(x)), x)\n"
    )
    found = treated("register-parameter", text, quantity="in no optimizer")
    assert changes(text, found) == ["opt = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)"]


@pytest.mark.parametrize(
    "part",
    [
        "[p for n, p in model.named_parameters() if 'head' in n]",
        "model.head.parameters()",
        "model.body.head.parameters()",
    ],
)
def test_an_optimizer_of_a_part_gets_the_whole_model(part):
    text = (
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        self.head = torch.nn.Linear(2, 2)\n"
        "    def forward(self, x):\n        return self.head(x)\n"
        f"def configure(model):\n    return torch.optim.Adam({part}, lr=1e-3)\nmodel = Net()\nmodel(x)\n"
    )
    found = treated("register-parameter", text, quantity="in no optimizer")
    assert changes(text, found) == ["return torch.optim.Adam(model.parameters(), lr=1e-3)"]


def test_an_optimizer_is_made_after_the_layer_that_was_replaced():
    text = (
        "import torch\nnet = Net()\nopt = torch.optim.Adam(net.parameters())\nnet.head = torch.nn.Linear(4, 2)\n"
        "net.train()\n"
    )
    found = treated("register-parameter", text, quantity="held by the optimizer, in no model")
    assert found.splitlines()[2:] == [
        "net.head = torch.nn.Linear(4, 2)",
        "opt = torch.optim.Adam(net.parameters())",
        "net.train()",
    ]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("torch.sqrt((d ** 2).sum(1))", "torch.sqrt((d ** 2).sum(1) + 1e-8)"),
        ("torch.log(p)", "torch.log(p.clamp_min(1e-7))"),
        ("(1 - p).log()", "(1 - p).clamp_min(1e-7).log()"),
        ("x / x.norm()", "x / (x.norm() + 1e-8)"),
        ("(x - mean) / std", "(x - mean) / (std + 1e-2)"),
        ("s.exp() / s.exp().sum(1, keepdim=True)", "torch.softmax(s.float(), dim=1)"),
    ],
)
def test_arguments_are_kept_away_from_where_a_function_ends(wrong, right):
    text = f"import torch\nloss = {wrong}\nloss.backward()\n"
    assert treated("add-epsilon", text).splitlines()[1] == f"loss = {right}"


@pytest.mark.parametrize(
    "safe", ["torch.log(p.clamp(1e-6))", "torch.log(p + eps)", "a / 2", "math.log(p)", "np.log(p)"]
)
def test_what_is_safe_takes_no_epsilon(safe):
    with pytest.raises(CannotApply, match="no log, sqrt or division"):
        treated("add-epsilon", f"import torch\nloss = {safe}\n")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("predicted = torch.round(model(x))", "predicted = model(x)"),
        ("predicted = (a + b).round()", "predicted = (a + b)"),
        ("predicted = (model(x) > 0.5).float()", "predicted = model(x)"),
    ],
)
def test_what_stands_inside_an_operation_without_slope_takes_its_place(wrong, right):
    text = f"import torch\ndata = torch.round(raw)\n{wrong}\nloss = f(predicted, y)\nloss.backward()\n"
    text += "print(torch.round(z))\n"
    assert changes(text, treated("smooth-operation", text)) == [right]


def test_prediction_and_target_are_flattened_where_they_meet():
    text = "import torch\nloss = criterion(model(x), y + 1)\n"
    assert changes(text, treated("match-shapes", text, line=2)) == [
        "loss = criterion(model(x).flatten(), (y + 1).flatten())"
    ]


def test_a_detour_through_numpy_is_taken_out():
    text = (
        "import torch\nimport numpy as np\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
        "        f = self.a(x).detach().numpy()\n        return self.b(torch.from_numpy(f.astype(np.float32)))\n"
    )
    assert changes(text, treated("connect-parameter", text)) == ["f = self.a(x)", "return self.b(f.float())"]


def test_an_array_that_alone_was_reordered_keeps_its_order():
    text = "X = X[order]\nX_train, y_train = X[:10], y[:10]\n"
    assert treated("check-labels", text) == "X_train, y_train = X[:10], y[:10]\n"


def test_arrays_that_were_reordered_together_are_left_alone():
    with pytest.raises(CannotApply, match="look at pairs"):
        treated("check-labels", "X = X[order]\ny = y[order]\n")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("loss = (model(x) - y).mean()", "loss = ((model(x) - y) ** 2).mean()"),
        ("loss = torch.mean(model(x) - y)", "loss = torch.mean((model(x) - y) ** 2)"),
        ("loss = -criterion(model(x), y)", "loss = criterion(model(x), y)"),
        ("w.data += lr * w.grad", "w.data -= lr * w.grad"),
        ("opt = torch.optim.SGD(p, lr=1, maximize=True)", "opt = torch.optim.SGD(p, lr=1, maximize=False)"),
    ],
)
def test_an_objective_without_a_lowest_value_gets_one(wrong, right):
    assert treated("correct-objective", f"import torch\n{wrong}\nloss.backward()\n").splitlines()[1] == right


def test_a_loader_shuffles():
    text = "loader = DataLoader(train, batch_size=4)\n"
    assert treated("shuffle-data", text) == "loader = DataLoader(train, batch_size=4, shuffle=True)\n"


def test_a_loader_with_a_sampler_is_left_alone():
    with pytest.raises(CannotApply, match="could shuffle"):
        treated("shuffle-data", "loader = DataLoader(train, sampler=weighted)\n")


def test_a_batch_grows_where_its_size_is_written():
    text = "batch_size = 2\nloader = DataLoader(train, batch_size=batch_size)\n"
    assert changes(text, treated("larger-batch", text, {"accumulate": 8})) == ["batch_size = 16"]


def test_the_limit_of_a_clipping_is_changed_where_it_is_written():
    text = "import torch\nmax_norm = 1e-4\ntorch.nn.utils.clip_grad_norm_(net.parameters(), max_norm)\n"
    assert changes(text, treated("loosen-clipping", text, {"max_norm": 1.0})) == ["max_norm = 1"]


def test_a_functional_softmax_before_the_loss_is_taken_away():
    text = (
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        h = torch.relu(self.a(x))\n"
        "        return torch.softmax(self.b(h), dim=-1)\n"
    )
    found = treated("correct-output", text, {"output": "linear"}, detail="softmax into cross_entropy")
    assert changes(text, found) == ["return self.b(h)"]


def test_a_softmax_over_one_unit_becomes_a_sigmoid():
    text = LOOP.replace("nn.Linear(8, 1), nn.Sigmoid())", "nn.Linear(8, 1), nn.Softmax(dim=1))")
    found = treated("correct-output", text, {"output": "sigmoid"}, quantity="units under the softmax")
    assert changes(text, found) == [
        "model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())"
    ]


def test_a_softmax_along_the_batch_runs_along_the_classes():
    text = "import torch\np = torch.softmax(scores, dim=0)\n"
    found = treated("correct-output", text, {"output": "softmax"}, quantity="softmax runs over the batch")
    assert changes(text, found) == ["p = torch.softmax(scores, dim=-1)"]


@pytest.mark.parametrize("name", sorted(rewrites()))
def test_a_program_that_trains_nothing_is_told_why(name):
    with pytest.raises(CannotApply) as caught:
        treated(
            name,
            "print('hello')\n",
            {"rate": 0.1, "max_norm": 1, "max_value": 1, "steps": 5, "mean": 0, "deviation": 1},
        )
    assert str(caught.value)
