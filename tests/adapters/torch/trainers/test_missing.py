"""Without the trainer's package, its callback tells the command that installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_the_missing_extra_is_told(name: str) -> None:
    program = f"import sys; sys.modules[{name!r}] = None; import gradscope_torch.{name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr.strip().splitlines()[-1] == (
        f"gradscope.errors.MissingFramework: {name} is not installed; pip install 'gradscope-diagnostics[{name}]'"
    )


def test_the_adapter_imports_neither() -> None:
    program = "import sys, gradscope_torch.watch; print({'lightning', 'transformers', 'accelerate'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"
