"""What is written when a step fails: a whole bundle or none, and the run goes on as if nothing were."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import gradscope
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope_torch.bundle.reading import load_bundle
from tests.adapters.torch.bundle.saved import index_of, save


def test_two_runs_into_one_folder_keep_both(tmp_path: Path) -> None:
    first, second = save(tmp_path), save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000", "step-000000-2"]
    assert (first.name, second.name) == ("step-000000", "step-000000-2")
    assert load_bundle(first).step == load_bundle(second).step == 0


def test_only_the_first_failing_step_is_saved(tmp_path: Path) -> None:
    save(tmp_path, steps=5)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000"]


def test_the_folder_is_made_and_its_files_are_readable_like_others(tmp_path: Path) -> None:
    bundle = save(tmp_path / "a" / "b")
    (tmp_path / "other").write_text("")
    modes = {f.stat().st_mode for f in bundle.iterdir()}
    assert modes == {(tmp_path / "other").stat().st_mode}
    assert len(list(bundle.iterdir())) == 5


@pytest.mark.parametrize("policy", ["report", "skip", "raise"])
def test_weights_are_those_before_the_step_under_every_policy(tmp_path: Path, policy: str) -> None:
    net = nn.Linear(3, 1)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with gradscope.watch(net, optimizer, on_nonfinite=policy, on_nonfinite_save=tmp_path):
        (net(torch.ones(2, 3)) / 0.0).sum().backward()
        if policy == "raise":
            with pytest.raises(gradscope.NonFiniteError):
                optimizer.step()
        else:
            optimizer.step()
    bundle = load_bundle(tmp_path / "step-000000")
    for name, values in before.items():
        assert torch.equal(bundle.shelves["weights"].get(f"0/{name}"), values)


def trained(folder: Path | None) -> list[Tensor]:
    """Weights, buffers, the state of Adam and the random streams after six steps, of which the third fails."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    optimizer = torch.optim.Adam(net.parameters())
    with gradscope.watch(net, optimizer, on_nonfinite="skip", on_nonfinite_save=folder) as scope:
        for step in range(6):
            optimizer.zero_grad()
            F.mse_loss(net(torch.rand(5, 4)) / float(step != 2), torch.rand(5, 1)).backward()
            optimizer.step()
    assert not scope.failures, scope.failures
    states = [v for s in optimizer.state.values() for v in s.values()]
    return [*net.state_dict().values(), *states, torch.get_rng_state()]


def test_training_goes_on_bit_for_bit_the_same(tmp_path: Path) -> None:
    left, right = trained(tmp_path), trained(None)
    assert len(list(tmp_path.iterdir())) == 1
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_optimizer_state_and_settings_are_saved_by_name(tmp_path: Path) -> None:
    trained(tmp_path)
    bundle = load_bundle(tmp_path / "step-000002")
    said = bundle.index["optimizer"]
    assert said["class"] == "torch.optim.adam.Adam"
    (group,) = said["groups"]
    assert group["parameters"] == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    assert group["settings"]["lr"] == 1e-3
    assert group["settings"]["betas"] == {"tuple": [0.9, 0.999]}
    moments = said["state"]["3.weight"]
    assert bundle.shelves["optimizer"].get(moments["exp_avg"]["tensor"]).shape == (1, 3)
    assert bundle.shelves["optimizer"].get(moments["step"]["tensor"]) == 2


def test_what_cannot_be_saved_is_told_and_the_rest_is_saved(tmp_path: Path) -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor, cache: Any = None) -> Tensor:
            return super().forward(x)

    net = Net(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with gradscope.watch(net, optimizer, on_nonfinite_save=tmp_path) as scope:
        (net(torch.ones(2, 3), cache=object()) / 0.0).sum().backward()
        optimizer.step()
    assert not scope.failures
    bundle = load_bundle(tmp_path / "step-000000")
    assert bundle.missing == ["call 0, cache: a object: only numbers, texts, tensors and containers of them are saved"]
    assert bundle.shelves["tensors"].get("0").shape == (2, 3)


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(gradscope.GradscopeError, match="nothing can be written into"):
        gradscope.watch(net, optimizer, on_nonfinite_save=tmp_path / "file" / "below")


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.adapters.torch.bundle import saved
import gradscope, torch
from torch import nn
how, folder = sys.argv[1:]
net = nn.Linear(300, 300)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL if how == "killed" else signal.SIG_IGN)
with gradscope.watch(net, optimizer, on_nonfinite_save=folder) as scope:
    (net(torch.ones(2, 300)) / 0.0).sum().backward()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    optimizer.step()
print(scope.failures, scope.limits)
"""


@pytest.mark.parametrize("how", ["full", "killed"])
def test_no_half_bundle_is_left_when_the_disk_is_full_or_the_run_is_killed(tmp_path: Path, how: str) -> None:
    assert resource.RLIMIT_FSIZE is not None
    words = [sys.executable, "-c", FULL, how, str(tmp_path / "saved")]
    root = Path(gradscope.__file__).parent.parent
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd=root)
    left = [p.name for p in (tmp_path / "saved").iterdir()]
    assert not [name for name in left if not name.startswith(".unfinished-")]
    if how == "killed":
        assert done.returncode == -signal.SIGXFSZ
        assert len(left) == 1
    else:
        assert not done.returncode, done.stderr
        assert "the failing step was not saved" in done.stdout
        assert left == []


def test_the_index_holds_no_object_of_python(tmp_path: Path) -> None:
    text = (save(tmp_path) / "bundle.json").read_text()
    assert "object at 0x" not in text
    assert index_of(tmp_path / "step-000000")["gradscope_bundle"] == 1


WITHOUT = """
import sys
sys.modules["safetensors"] = None
import gradscope, torch
from gradscope.errors import MissingFramework
net = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
gradscope.watch(net, optimizer).close()
try:
    gradscope.watch(net, optimizer, on_nonfinite_save="saved")
except MissingFramework as error:
    print(error)
from gradscope_cli.main import main
main(["replay", "saved", "model.py"])
"""


def test_without_safetensors_it_is_told_before_the_training(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT]
    alone = {**os.environ, "GRADSCOPE_CHILD": "1"}  # a child would find safetensors again
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env=alone)
    said = "with safetensors, which is not installed: pip install 'gradscope-diagnostics[torch]'"
    assert said in done.stdout, done.stderr
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_origin_in_a_bundle_is_that_of_its_own_step(tmp_path: Path) -> None:
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with gradscope.watch(net, optimizer, on_nonfinite_save=tmp_path) as scope:
        for _ in range(5):
            optimizer.zero_grad()
            scaler.scale((net(torch.ones(2, 3)) / 0.0).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
        net(torch.ones(2, 3)).sub(2.0).sqrt().sum().backward()
        optimizer.step()
    assert not scope.failures, scope.failures
    (bundle,) = map(load_bundle, tmp_path.iterdir())
    assert bundle.step == 3  # the fourth that the scaler skipped
    assert bundle.origin is not None
    assert (bundle.origin["step"], bundle.origin["op"]) == (3, "div")
    assert [c["function"] for c in bundle.index["calls"][1:]][:1] == ["torch.Tensor.div"]
