"""What the README shows of trainers works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

import gradscope
import lightning

from tests.adapters.torch.trainers.lightning_modules import Regressor, data

pytestmark = [pytest.mark.usefixtures("nowhere"), pytest.mark.filterwarnings("ignore")]
README = (Path(gradscope.__file__).parent.parent / "README.md").read_text("utf-8")


def test_the_lines_for_lightning_work(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "gradscope_torch.lightning" in b]
    exec(block, {"lightning": lightning, "module": Regressor(), "batches": data()})
    assert "gradscope: healthy (32 steps, 4 parameters, 1 optimizer)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_the_extras_of_the_readme_exist(name: str) -> None:
    import tomllib

    project = tomllib.loads((Path(gradscope.__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"'.[{name}]'" in README
    assert any(need.startswith(name) for need in project["optional-dependencies"][name])
