"""Remedies written where data is loaded and where it meets the loss."""

import pytest
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

LOADERS = """from torch.utils.data import DataLoader
test_loader = DataLoader(test_set, batch_size=4)
other = DataLoader(folder, batch_size=4)
loader = DataLoader(train_set, batch_size=4)
"""


def test_the_loader_of_the_training_is_the_one_that_shuffles():
    expected = ["loader = DataLoader(train_set, batch_size=4, shuffle=True)"]
    assert changes(LOADERS, treated("shuffle-data", LOADERS)) == expected


def test_the_loader_of_the_training_is_the_one_whose_batch_grows():
    expected = ["loader = DataLoader(train_set, batch_size=8)"]
    assert changes(LOADERS, treated("larger-batch", LOADERS, {"accumulate": 2})) == expected


@pytest.mark.parametrize("name", ["test_loader", "val_dl", "valid_loader", "eval_data", "testloader"])
def test_loaders_of_held_out_data_are_left_alone(name):
    text = f"{name} = DataLoader(data, batch_size=4)\n"
    for remedy in ("shuffle-data", "larger-batch"):
        with pytest.raises(CannotApply):
            treated(remedy, text, {"accumulate": 2})


@pytest.mark.parametrize("name", ["values", "latest", "devices_loader", "loader"])
def test_words_that_only_begin_alike_say_nothing(name):
    text = f"{name} = DataLoader(data, batch_size=4)\n"
    assert "batch_size=8" in treated("larger-batch", text, {"accumulate": 2})


def test_held_out_data_beside_that_of_fit_does_not_matter():
    text = "model.fit(x, y, batch_size=4, shuffle=False, validation_data=(x_val, y_val))\n"
    assert "shuffle=True" in treated("shuffle-data", text, framework="tensorflow")


MEETINGS = [
    ("loss = criterion(merge(a, b), y)", "loss = criterion(merge(a, b).flatten(), y.flatten())"),
    ("loss = torch.mean((model(x, n) - y) ** 2)", "loss = torch.mean((model(x, n).flatten() - y.flatten()) ** 2)"),
    ("loss = scale(1 - F.l1_loss(model(x, n), y))", "loss = scale(1 - F.l1_loss(model(x, n).flatten(), y.flatten()))"),
]


@pytest.mark.parametrize(("wrong", "right"), MEETINGS)
def test_the_arguments_of_the_loss_are_flattened_and_no_others(wrong, right):
    text = f"import torch\n{wrong}\n"
    assert changes(text, treated("match-shapes", text, line=2)) == [right]


def test_what_a_backward_pass_is_of_is_a_loss_whatever_its_name():
    text = "import torch\nvalue = deviance(model(x, n), y - 1)\nvalue.backward()\n"
    found = treated("match-shapes", text, line=2)
    assert changes(text, found) == ["value = deviance(model(x, n).flatten(), (y - 1).flatten())"]


def test_a_line_without_a_loss_is_left_alone():
    with pytest.raises(CannotApply, match="line 2"):
        treated("match-shapes", "import torch\nout = model(x, y)\n", line=2)


def test_data_is_still_converted_where_a_cut_is_taken_out():
    text = (
        "import torch\nx = torch.from_numpy(X)\ny = torch.as_tensor(Y)\nh = encode(x)\n"
        "z = torch.tensor(h.detach().numpy())\nf(decode(z), y).backward()\n"
    )
    assert changes(text, treated("connect-parameter", text)) == ["z = h"]


def test_numbers_of_an_evaluation_are_no_way_to_the_loss():
    text = (
        "import torch\ndef accuracy(x, y):\n    with torch.no_grad():\n        return (model(x) == y).sum().item()\n"
        "f(decode(encode(x)), y).backward()\n"
    )
    with pytest.raises(CannotApply, match="no detach"):
        treated("connect-parameter", text)
