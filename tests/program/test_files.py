"""The files of one program: those that are its own, and which of them a change fits."""

import pytest
from gradscope.errors import CannotApply
from gradscope.program.files import read


@pytest.fixture
def program(tmp_path):
    """A script that imports modules of its own, in several ways, and others."""
    files = {
        "train.py": "import os\nimport nets.wide\nfrom model import Net\nfrom nets import narrow\nimport numpy\n",
        "model.py": "from layers import relu\nclass Net: pass\n",
        "layers.py": "import train\ndef relu(x): return x\n",
        "nets/__init__.py": "from . import wide\n",
        "nets/wide.py": "",
        "nets/narrow.py": "width = 1\n",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_program_is_its_script_and_the_modules_that_it_imports(program):
    found = read(program / "train.py", "torch")
    assert found.script.path.name == "train.py"
    names = {str(s.path.relative_to(program.resolve())) for s in found.sources}
    assert names == {"train.py", "model.py", "layers.py", "nets/__init__.py", "nets/wide.py", "nets/narrow.py"}


def test_a_module_that_is_no_python_is_left(program):
    (program / "model.py").write_text("class Net(")
    assert "model.py" not in {s.path.name for s in read(program / "train.py", "torch").sources}


def test_a_change_is_made_in_each_file_that_it_fits(program):
    def widen(source):
        if "width" not in source.text:
            raise CannotApply(f"{source.path.name} has no width")
        return source.edited([source.before(source.tree.body[0], "# wider")])

    found = read(program / "train.py", "torch")
    (changed,) = found.treated(widen)
    assert [s.path.name for s in changed.sources if s.text.startswith("# wider")] == ["narrow.py"]
    assert "+++ b/nets/narrow.py\n" in found.patch(changed, program)


def test_a_change_that_fits_none_is_told_of_the_script(program):
    def refuse(source):
        raise CannotApply(f"not in {source.path.name}")

    with pytest.raises(CannotApply, match=r"not in train\.py"):
        list(read(program / "train.py", "torch").treated(refuse))
