"""Which activation is that of the output: by what follows it when the model runs, not by where it is written."""

import pytest
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

NET = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 1)
        {made}
    def forward(self, x):
        {lines}
"""


def net(lines, made=None):
    """A model of two layers, and of an activation where forward() uses one."""
    made = made or ("self.act = nn.Tanh()" if "self.act" in lines else "self.size = 8")
    return NET.format(made=made, lines=lines.replace("\n", "\n        "))


HIDDEN = [
    net("return self.b(torch.tanh(self.a(x)))"),
    net("return self.b(self.act(self.a(x)))"),
    net("h = self.a(x)\nh = self.act(h)\nreturn self.b(h)"),
    net("x = torch.tanh(self.a(x))\nx = x + 1\nx = self.b(x)\nreturn x"),
    net("for layer in self.layers:\n    x = torch.tanh(layer(x))\nreturn self.b(x)"),
    net("return self.b(self.body(x))", "self.body = nn.Sequential(nn.Linear(4, 8), nn.Tanh())"),
    net(
        "return self.b(self.body(x))",
        "self.body = nn.Sequential(nn.Linear(4, 8), self.act)\n        self.act = nn.Tanh()",
    ),
    net("return self.b(self.encode(x))\ndef encode(self, x):\n    return torch.tanh(self.a(x))").replace(
        "        def encode(self, x):\n            return", "    def encode(self, x):\n        return"
    ),
    net(
        "return self.c(self.tanh(self.d(x)))", "self.d, self.tanh, self.c = nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)"
    ),
    "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self):\n"
    "        super().__init__(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))\n",
    "from torch import nn\nbody = nn.Sequential()\nbody.add_module('a', nn.Linear(4, 8))\n"
    "body.add_module('act', nn.Tanh())\nbody.add_module('b', nn.Linear(8, 1))\n",
    net("return self.heads[0](torch.tanh(self.a(x)))", "self.heads = nn.ModuleList([nn.Linear(8, 1)])"),
    "from torch import nn\ndef block(n):\n    return nn.Sequential(nn.Linear(n, n), nn.Tanh())\n"
    "model = nn.Sequential(block(4), block(4), nn.Linear(4, 1))\n",
    "from torch import nn\nlayers = []\nfor n in sizes:\n    layers.append(nn.Linear(n, n))\n"
    "    layers.append(nn.Tanh())\n"
    "layers.append(nn.Linear(n, 1))\nmodel = nn.Sequential(*layers)\n",
    "from torch import nn\nlayers = []\nfor n in sizes:\n    layers += [nn.Linear(n, n), nn.Tanh()]\n"
    "model = nn.Sequential(*layers, nn.Linear(n, 1))\n",
    "import torch\nw1 = torch.zeros(4, 4, requires_grad=True)\nh = torch.tanh(x @ w1 + b1)\nout = h @ w2 + b2\n",
]
OUTPUT = [
    net("return torch.tanh(self.b(self.a(x)))"),
    net("return self.act(self.b(self.a(x)))"),
    net("x = self.b(self.a(x))\nx = self.act(x)\nreturn x"),
    net("x = torch.relu(self.a(x))\nx = torch.tanh(self.b(x))\nreturn x"),
    "from torch import nn\ngenerator = nn.Sequential(nn.Linear(4, 8), nn.Tanh())\n"
    "critic = nn.Sequential(nn.Linear(8, 1))\nloss = critic(generator(z)).mean()\n",
    net("return torch.tanh(self.b(self.a(x)))") + "class Critic(nn.Module):\n    def __init__(self):\n"
    "        self.c = nn.Linear(1, 1)\n    def forward(self, x):\n        return self.c(x)\n"
    "generator, critic = Net(), Critic()\n",
    "import torch\nw = torch.zeros(4, requires_grad=True)\nout = torch.tanh(x @ w + b)\nloss = criterion(out, y)\n",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_an_activation_that_a_layer_follows_is_hidden(text):
    found = changes(text, treated("replace-activation", text, {"activation": "relu"}))
    assert len(found) == 1
    assert "relu" in found[0].lower()
    for name in ("open-output", "correct-output"):
        with pytest.raises(CannotApply):
            treated(name, text, detail="tanh into mse_loss")


@pytest.mark.parametrize("text", OUTPUT)
def test_an_activation_that_no_layer_of_its_model_follows_is_the_output(text):
    if "torch.relu" not in text:
        with pytest.raises(CannotApply):
            treated("replace-activation", text, {"activation": "relu"})
    for name in ("open-output", "correct-output"):
        replaced = treated(name, text, detail="tanh into mse_loss")
        assert "tanh(" not in replaced.lower()


@pytest.mark.parametrize(
    "lines",
    ["return torch.tanh(self.a(x)) * self.b(x)", "w = torch.softmax(self.a(x), 1)\nreturn (w * self.b(x)).sum(1)"],
)
def test_the_gate_of_a_layer_is_neither(lines):
    text = net(lines)
    for name in ("replace-activation", "open-output", "correct-output"):
        with pytest.raises(CannotApply):
            treated(name, text, {"activation": "relu"})


def test_the_last_module_that_is_added_by_name_stays_a_module():
    text = "from torch import nn\nbody = nn.Sequential()\nbody.add_module('a', nn.Linear(4, 8))\n"
    text += "body.add_module('act', nn.Tanh())\n"
    assert changes(text, treated("open-output", text)) == ["body.add_module('act', nn.Identity())"]


def test_layers_that_are_unpacked_take_no_other_between_them():
    text = net(
        "return self.c(self.tanh(self.d(x)))", "self.d, self.tanh, self.c = nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)"
    )
    with pytest.raises(CannotApply, match="no layer that an activation follows"):
        treated("batch-normalization", text)


BOTH = [
    net("return self.act(self.b(self.act(self.a(x))))"),
    "import torch\nconvs = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)]\nfor conv in convs:\n    x = torch.tanh(conv(x))\n"
    "loss = f(x)\n",
]


@pytest.mark.parametrize("text", BOTH)
def test_an_activation_that_is_used_in_both_ways_is_left_alone(text):
    for name in ("replace-activation", "open-output", "correct-output"):
        with pytest.raises(CannotApply):
            treated(name, text, {"activation": "relu"})


KERAS = 'from keras.layers import Dense\nout = Dense(1, activation="sigmoid")(Dense(8, activation="tanh")(x))\n'


def test_the_outer_of_two_nested_layers_is_the_output():
    hidden = treated("replace-activation", KERAS, {"activation": "relu"}, framework="tensorflow")
    assert changes(KERAS, hidden) == ['out = Dense(1, activation="sigmoid")(Dense(8, activation="relu")(x))']
    opened = treated("open-output", KERAS, framework="tensorflow")
    assert changes(KERAS, opened) == ['out = Dense(1, activation="linear")(Dense(8, activation="tanh")(x))']
    plain = KERAS.replace(', activation="sigmoid"', "")
    given = treated("correct-output", plain, {"output": "sigmoid"}, framework="tensorflow", detail="linear into bce")
    assert changes(plain, given) == ['out = Dense(1, activation="sigmoid")(Dense(8, activation="tanh")(x))']


def test_a_model_that_grows_by_add_ends_with_its_last_layer():
    text = (
        'import keras\nm.add(keras.layers.Dense(8))\nm.add(keras.layers.Activation("tanh"))\n'
        'm.add(keras.layers.Dense(1))\nm.add(keras.layers.Activation("tanh"))\n'
    )
    hidden = treated("replace-activation", text, {"activation": "gelu"}, framework="tensorflow")
    assert hidden.splitlines()[2] == 'm.add(keras.layers.Activation("gelu"))'
    assert hidden.splitlines()[4] == 'm.add(keras.layers.Activation("tanh"))'


def test_an_activation_that_keras_has_no_layer_for_is_named():
    text = "from keras import layers, Sequential\nm = Sequential([layers.Dense(8), layers.ReLU(), layers.Dense(1)])\n"
    for wanted, expected in (("gelu", 'layers.Activation("gelu")'), ("elu", "layers.ELU()")):
        found = treated("replace-activation", text, {"activation": wanted}, framework="tensorflow")
        assert changes(text, found) == [f"m = Sequential([layers.Dense(8), {expected}, layers.Dense(1)])"]


MODEL = "import torch\nfrom torch import nn\nmodel = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))\n"
TRAINING = "loss = criterion(model(x), y)\nloss.backward()\n"
EVALUATION = "with torch.no_grad():\n    p = torch.softmax(model(x), dim=1)\n"


def test_the_softmax_of_the_model_is_taken_away_and_that_of_the_evaluation_stays():
    text = MODEL + TRAINING + EVALUATION
    found = treated("correct-output", text, detail="softmax into cross_entropy")
    assert changes(text, found) == ["model = nn.Sequential(nn.Linear(4, 3))"]


@pytest.mark.parametrize(
    "evaluation",
    [
        EVALUATION,
        "p = torch.softmax(model(x), dim=1)\n",
        "def check():\n    found.append(f(torch.softmax(model(x), dim=1)).item())\n",
        "def predict(x):\n    return torch.softmax(model(x), dim=1)\n",
    ],
)
def test_a_softmax_of_an_evaluation_alone_is_left_alone(evaluation):
    text = MODEL.replace(", nn.Softmax(dim=1)", "") + TRAINING + evaluation
    with pytest.raises(CannotApply, match="not written in this file"):
        treated("correct-output", text, detail="softmax into cross_entropy")


def test_a_softmax_between_model_and_loss_is_taken_away():
    text = MODEL.replace(", nn.Softmax(dim=1)", "") + TRAINING.replace("model(x)", "torch.softmax(model(x), dim=1)")
    found = treated("correct-output", text, detail="softmax into cross_entropy", line=4)
    assert changes(text, found) == ["loss = criterion(model(x), y)"]


def test_of_several_models_that_of_the_verdict_is_changed():
    first = "teacher = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))\n"
    text = "import torch\nfrom torch import nn\n" + first + first.replace("teacher", "student")
    for line, name in ((3, "teacher"), (4, "student")):
        found = treated("correct-output", text, detail="softmax into cross_entropy", line=line)
        assert changes(text, found) == [f"{name} = nn.Sequential(nn.Linear(4, 3))"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("10 * torch.sigmoid(x @ w + b)", "10 * (x @ w + b)"),
        ("torch.sigmoid(x @ w + b).squeeze(1)", "(x @ w + b).squeeze(1)"),
        ("(x @ w + b).sigmoid() * 10", "(x @ w + b) * 10"),
        ("torch.sigmoid(x @ w + b)", "x @ w + b"),
    ],
)
def test_what_stood_in_an_activation_keeps_its_parentheses(wrong, right):
    text = f"import torch\nw = torch.zeros(4, requires_grad=True)\nout = {wrong}\nloss = criterion(out, y)\n"
    assert changes(text, treated("open-output", text)) == [f"out = {right}"]


DATA = [
    "y = torch.tanh(x[:, 0] * x[:, 1])\n",
    "h = torch.tanh(x @ true_w1)\ny = h @ true_w2\n",
    "def make(n):\n    x = torch.randn(n, 4)\n    w = torch.randn(4, 1)\n"
    "    return x, torch.sigmoid(x @ w)\nx, y = make(9)\n",
]


@pytest.mark.parametrize("made", DATA)
def test_data_is_made_as_it_was(made):
    text = f"import torch\n{made}model = Net()\nopt = torch.optim.SGD(model.parameters(), lr=1)\n"
    text += "f(model(x), y).backward()\n"
    for name in ("replace-activation", "open-output", "correct-output"):
        with pytest.raises(CannotApply):
            treated(name, text, {"activation": "relu"})


LAST = [
    (
        "model = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 1))\n",
        "model = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 1), nn.Sigmoid())",
    ),
    (
        "model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 1)))\n",
        "model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 1)), nn.Sigmoid())",
    ),
    (
        "class Net(nn.Module):\n    def __init__(self):\n"
        "        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())\n"
        "        self.head = nn.Linear(8, 1)\n    def forward(self, x):\n"
        "        return self.head(self.body(x))\nmodel = Net()\n",
        "return torch.sigmoid(self.head(self.body(x)))",
    ),
    (
        "model = nn.Sequential(nn.Linear(4, 1))\ncritic = nn.Sequential(nn.Linear(1, 1))\n",
        "model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())",
    ),
]


@pytest.mark.parametrize(("made", "expected"), LAST)
def test_an_activation_is_put_behind_the_last_layer_of_the_whole_model(made, expected):
    text = f"import torch\nfrom torch import nn\n{made}opt = torch.optim.Adam(model.parameters())\n"
    found = treated("correct-output", text, {"output": "sigmoid"}, detail="linear into binary_cross_entropy")
    assert changes(text, found) == [expected]
