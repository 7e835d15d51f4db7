"""The model that a bundle is replayed with: how it is found in a file, and what is said of one that does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import gradscope
import torch
from gradscope.errors import BundleError, ScriptFailed, TargetError
from torch import nn

from gradscope_torch.bundle.reading import load_bundle
from gradscope_torch.bundle.replay import Replayed, replay
from tests.adapters.torch.bundle.saved import index_of, sealed

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width{default}):
        super().__init__()
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 1)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        return self.head(self.norm(self.stem(x)) / 0.0)
"""
CLASS = NET.format(default="=6")
BARE = NET.format(default="")
LOOP = "\n\ndef train():\n    pass\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one Net(6) that was held by a variable `net`."""
    names: dict[str, Any] = {"__name__": "model"}
    exec(CLASS, names)
    return saved(names["Net"](), tmp_path_factory.mktemp("saved"))


def saved(net: nn.Module, folder: Path) -> Path:
    """A bundle of its first step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with gradscope.watch(net, optimizer, on_nonfinite_save=folder) as scope:
        net(torch.rand(3, 4)).square().mean().backward()
        optimizer.step()
    assert not scope.failures, scope.failures
    return folder / "step-000000"


def replayed(bundle: Path, folder: Path, text: str, name: str | None = None, **options: Any) -> Replayed:
    """The replay with a file of that text."""
    (folder / "model.py").write_text(text)
    return replay(bundle, folder / "model.py", name, **options)


FOUND = {
    "the class of that name": (CLASS, None),
    "the only class": (CLASS.replace("Net", "Mended"), None),
    "a class by name": (CLASS + "\n\nclass Other(nn.Module):\n    pass\n", "Net"),
    "build_model()": (BARE + "\n\ndef build_model():\n    return Net(6)\n", None),
    "make_model()": (BARE + "\n\ndef make_model():\n    return Net(6)\n", None),
    "model": (BARE + "\n\nmodel = Net(6)\n", None),
    "a function by name": (BARE + "\n\ndef mine():\n    return [Net(6)]\n", "mine"),
    "an instance by name": (BARE + "\n\nmine = Net(6)\n", "mine"),
    "a dict by name": (BARE + "\n\ndef mine():\n    return {'net': Net(6), 'other': None}\n", "mine"),
    "the variable of that name": (BARE + "\n\nnet, other = Net(6), Net(7)\n", None),
    "a workload": (
        BARE
        + "\n\nimport gradscope\n\ndef workload():\n"
        + "    return gradscope.Workload(Net(6), nn.functional.mse_loss, [])\n",
        None,
    ),
    "a workload that builds it": (
        BARE
        + "\n\nimport gradscope\n\ndef workload():\n"
        + "    return gradscope.Workload(lambda: Net(6), nn.functional.mse_loss, [])\n",
        None,
    ),
    "of another precision": (BARE + "\n\nmodel = Net(6).double()\n", None),
    "with what never is": (CLASS + "\n\nif __name__ == '__main__':\n    raise SystemExit(3)\n", None),
}


@pytest.mark.parametrize("what", FOUND)
def test_the_model_is_found(bundle: Path, tmp_path: Path, what: str) -> None:
    text, name = FOUND[what]
    found = replayed(bundle, tmp_path, text, name)
    assert found.same is True
    assert found.origin is not None
    assert found.origin.op == "div"
    assert found.origin.source == f"{tmp_path / 'model.py'}:13"
    assert not found.notes


REFUSED = {
    "no such name": (CLASS, "Nut", ["model.py: defines no 'Nut'", "models there: Net"]),
    "a class with arguments": (
        BARE,
        None,
        ["Net: needs arguments (width)", "def build_model():", "return Net(width=...)", "model.py::build_model"],
    ),
    "a function with arguments": (
        BARE + "\n\ndef made(width, /, deep):\n    return Net(width)\n",
        "made",
        ["made: needs arguments (width, deep)"],
    ),
    "two classes": (
        CLASS.replace("Net", "A") + CLASS.replace("Net", "B"),
        None,
        ["which of it is the saved Net ('net')?", "models there: A, B", "::NAME"],
    ),
    "no class": ("x = 3\n", None, ["models there: none", "define build_model()"]),
    "no model": ("x = 3\n", "x", ["model.py::x: expected a torch.nn.Module", "got int"]),
    "too many": (
        BARE + "\n\nmodels = lambda: [Net(6), Net(6)]\n",
        None,
        ["gives 2 models; the bundle has 1: 'net' (Net); return that one"],
    ),
    "a dict without it": (CLASS + "\n\ndef m():\n    return {'a': Net()}\n", "m", ["gives no 'net'", "'net' (Net)"]),
    "another width": (
        BARE + "\n\nmodel = Net(7)\n",
        None,
        [
            "this Net does not fit the saved Net",
            "of another shape: stem.weight: [6, 4] in the bundle, [7, 4] in the model",
            "norm.running_mean: [6] in the bundle, [7] in the model",
        ],
    ),
    "other names": (
        CLASS.replace("self.head", "self.tail"),
        None,
        ["not in the model: head.weight; head.bias", "not in the bundle: tail.weight; tail.bias"],
    ),
    "a layer more": (
        CLASS.replace("self.norm =", "self.more = nn.Linear(1, 1)\n        self.norm ="),
        None,
        ["not in the bundle: more.weight; more.bias"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_does_not_fit_is_refused(bundle: Path, tmp_path: Path, what: str) -> None:
    text, name, words = REFUSED[what]
    with pytest.raises(BundleError) as caught:
        replayed(bundle, tmp_path, text, name)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


def test_a_file_that_is_none_is_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no such file"):
        replay(bundle, tmp_path / "model.py")
    with pytest.raises(TargetError, match="syntax error"):
        replayed(bundle, tmp_path, "def (")


@pytest.mark.parametrize("text", ["1 / 0", CLASS + "\nmodel = Net('six')", CLASS.replace("/ 0.0", "/ nothing")])
def test_what_the_file_raises_is_shown_with_its_own_frames(bundle: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ScriptFailed, match=r"model\.py"):
        replayed(bundle, tmp_path, text)


def test_the_bundle_is_read_before_the_file_is_run(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        replayed(tmp_path / "nowhere", tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert not (tmp_path / "ran").exists()


class Annealed(nn.Module):
    """Fails once its temperature is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.temperature = nn.Linear(4, 1), 1.0

    def forward(self, x: Any) -> Any:
        return self.line(x) / self.temperature


ANNEALED = """
from torch import nn


class Annealed(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.temperature = nn.Linear(4, 1), 1.0

    def forward(self, x):
        return self.line(x) / self.temperature
"""


def test_numbers_that_the_run_had_changed_are_told_and_set_on_request(tmp_path: Path) -> None:
    net = Annealed()
    net.temperature = 0.0
    bundle = saved(net, tmp_path / "saved")
    left = replayed(bundle, tmp_path, ANNEALED)
    assert left.finite
    assert left.notes == ("temperature is 1.0; it was 0.0 (--numbers sets it to that)",)
    found = replayed(bundle, tmp_path, ANNEALED, numbers=True)
    assert found.same is True
    assert not found.notes


def test_what_was_tied_and_no_longer_is_told(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with torch.no_grad():
        tied[0].weight[0, 0] = float("nan")
    bundle = saved(tied, tmp_path / "saved")
    text = "from torch import nn\n\nmodel = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))\n"
    found = replayed(bundle, tmp_path, text)
    assert found.same is True
    assert found.notes == ("1.weight and 0.weight were one tensor, and are two in the model",)
    kept = replayed(bundle, tmp_path, text + "model[1].weight = model[0].weight\n")
    assert kept.same is True
    assert not kept.notes


def test_a_lazy_layer_gets_its_shape_from_the_bundle(tmp_path: Path) -> None:
    text = "from torch import nn\n\nmodel = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())\n"
    names: dict[str, Any] = {}
    exec(text, names)
    names["model"](torch.rand(2, 4))
    with torch.no_grad():
        names["model"][0].bias[0] = float("nan")
    found = replayed(saved(names["model"], tmp_path / "saved"), tmp_path, text)
    assert found.same is True
    assert found.origin is not None
    assert found.origin.parameter == "0.bias"


def test_an_argument_that_could_not_be_saved_is_told(tmp_path: Path) -> None:
    class Net(nn.Linear):
        def forward(self, x: Any, cache: Any = None) -> Any:
            return super().forward(x) / 0.0

    net = Net(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with gradscope.watch(net, optimizer, on_nonfinite_save=tmp_path):
        net(torch.rand(3, 4), cache=object()).sum().backward()
        optimizer.step()
    text = "from torch import nn\n\nmodel = nn.Linear(4, 1)\n"
    with pytest.raises(BundleError, match="the model cannot be called again: call 0, cache: a object"):
        replayed(tmp_path / "step-000000", tmp_path, text)


def test_nothing_of_a_replay_is_left_behind(bundle: Path, tmp_path: Path) -> None:
    import random
    import sys

    state, drawn, path, modules = torch.get_rng_state(), random.getstate(), list(sys.path), set(sys.modules)
    replayed(bundle, tmp_path, CLASS + "\n\nmodel = Net()\n")
    assert random.getstate() == drawn
    assert sys.path == path
    assert "model" not in set(sys.modules) - modules
    assert state.shape == torch.get_rng_state().shape


def test_a_model_that_returns_something_else_is_told(bundle: Path, tmp_path: Path) -> None:
    text = CLASS.replace("return self.head(", "return x, self.head(")
    with pytest.raises(BundleError, match=r"cannot be run again .*: Net returned 1 tensors then, and 2 now"):
        replayed(bundle, tmp_path, text)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device that is not here is here")
def test_a_device_that_is_not_here_is_replaced_and_told(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    index = index_of(copy)
    for name in ("weights", "tensors"):
        held = load_bundle(bundle).shelves[name].tensors
        index["files"][f"{name}.safetensors"]["tensors"] = {key: {"device": "cuda:1"} for key in held}
    index["calls"][0]["casting"] = ["cuda", "bfloat16", True]
    index["calls"][-1]["kwargs"]["dtype"] = {"dtype": "float32"}
    sealed(copy, index)
    found = replayed(copy, tmp_path, CLASS)
    assert found.same is True
    assert found.notes == ("saved on cuda:1, replayed on the CPU",)


def test_other_versions_are_told(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    index = index_of(copy)
    index["versions"]["torch"] = "2.4.0"
    sealed(copy, index)
    assert replayed(copy, tmp_path, CLASS).notes == (f"saved with torch 2.4.0, replayed with {torch.__version__}",)
