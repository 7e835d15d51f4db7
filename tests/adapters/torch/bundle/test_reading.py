"""A bundle that was truncated, tampered with, or made by a stranger is refused with one clear message."""

from __future__ import annotations

import contextlib
import json
import pickle
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from gradscope.errors import BundleError

from gradscope_torch.bundle.reading import load_bundle
from tests.adapters.torch.bundle.saved import index_of, save, sealed

FILES = ("tensors.safetensors", "weights.safetensors", "optimizer.safetensors", "streams.safetensors")
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as it was saved."""
    return save(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def refused(bundle: Path, *words: str) -> str:
    """The message with which it is refused."""
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert str(bundle) in message
    assert len(message) < 1000
    return message


def test_a_bundle_can_be_read(bundle: Path) -> None:
    found = load_bundle(bundle)
    assert found.step == 0
    assert found.origin is not None
    assert found.origin["op"] == "div"
    assert not found.missing


def test_what_is_no_bundle_is_told(tmp_path: Path, bundle: Path) -> None:
    refused(tmp_path / "nowhere", "no such folder", "expected a bundle")
    refused(bundle / "bundle.json", "is a file", "expected a bundle")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "it has no bundle.json")
    refused(tmp_path, "it has no bundle.json", "bundles in there: bundle")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refused(bundle, f"{name} is missing")


@pytest.mark.parametrize("name", ["tensors.safetensors", "weights.safetensors", "streams.safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 7, 8, 60, -1])
def test_a_truncated_file_is_told(bundle: Path, name: str, kept: int) -> None:
    whole = (bundle / name).read_bytes()
    (bundle / name).write_bytes(whole[:kept])
    refused(bundle, name, "is truncated", str(len(whole)))


@pytest.mark.parametrize("name", ["tensors.safetensors", "weights.safetensors", "streams.safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 8, 60, -1])
def test_a_truncated_file_with_right_checksums_is_no_safetensors(bundle: Path, name: str, kept: int) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes()[:kept])
    sealed(bundle, index_of(bundle))
    refused(bundle, name, "cannot be read as safetensors")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, 9, -1])
def test_a_flipped_byte_is_told(bundle: Path, name: str, at: int) -> None:
    held = bytearray((bundle / name).read_bytes())
    held[at] ^= 1
    (bundle / name).write_bytes(held)
    refused(bundle, name, "its checksum differs")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_index_is_told(bundle: Path, share: float) -> None:
    text = (bundle / "bundle.json").read_text()
    (bundle / "bundle.json").write_text(text[: int(share * len(text))])
    refused(bundle, "bundle.json: is broken or truncated: no JSON")


def test_an_edited_index_is_told(bundle: Path) -> None:
    text = (bundle / "bundle.json").read_text()
    (bundle / "bundle.json").write_text(text.replace('"step": 0', '"step": 7', 1))
    refused(bundle, "its checksum differs: it was altered after it was written")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "nan", "\x00", "{}", "[]", "3", '{"step": NaN}'])
def test_an_index_that_is_none_is_told(bundle: Path, text: str) -> None:
    (bundle / "bundle.json").write_text(text)
    refused(bundle)


def test_a_newer_version_says_what_to_install(bundle: Path) -> None:
    index = index_of(bundle) | {"gradscope_bundle": 2, "versions": {"gradscope": "9.9"}}
    sealed(bundle, index)
    refused(bundle, "version 2, written by gradscope 9.9", "reads up to 1", "install a newer gradscope")


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.0, True])
def test_a_version_that_is_none_is_told(bundle: Path, version: Any) -> None:
    sealed(bundle, index_of(bundle) | {"gradscope_bundle": version})
    refused(bundle, "gradscope_bundle")


REFUSED = [
    *["torch.load", "torch.save", "os.system", "eval", "builtins.exec", "torch.Tensor.apply_", "torch.Tensor.set_"],
    *["torch.from_file", "torch.Tensor.data_ptr", "torch.Tensor.register_hook", "torch.Tensor.__reduce_ex__"],
    *["torch.Tensor.__setstate__", "torch.Tensor.numpy", "torch.hub.load", "torch.compile", "torch.Tensor.backward"],
    *["torch.ops.load_library", "torch.Tensor.resize_", "__import__", "", None, ["torch.add"], {"a": 1}, 3],
]


@pytest.mark.parametrize("name", REFUSED, ids=str)
def test_a_function_that_is_not_allowed_is_refused(bundle: Path, name: Any) -> None:
    index = index_of(bundle)
    next(c for c in index["calls"] if "function" in c)["function"] = name
    sealed(bundle, index)
    refused(bundle, "is no function that a bundle may call", "call 1")


def first(index: dict[str, Any]) -> dict[str, Any]:
    """The first call of a function."""
    found: dict[str, Any] = next(c for c in index["calls"] if "function" in c)
    return found


CHANGES: dict[str, tuple[Change, str]] = {
    "a slot that nobody made": (lambda i: first(i)["args"].__setitem__(0, {"slot": 999}), "slot 999"),
    "a slot of a later call": (lambda i: first(i)["args"].__setitem__(0, {"slot": first(i)["results"][0]}), "slot"),
    "a slot that is no number": (lambda i: first(i)["args"].__setitem__(0, {"slot": "0"}), "slot '0'"),
    "a tensor that is not there": (lambda i: first(i)["args"].__setitem__(1, {"tensor": "x"}), "tensor 'x'"),
    "a tensor by a list": (lambda i: first(i)["args"].__setitem__(1, {"tensor": ["0"]}), "tensor ['0']"),
    "a weight that no model has": (
        lambda i: first(i)["args"].__setitem__(1, {"weight": [0, "x"]}),
        "which no model holds",
    ),
    "a weight of no model": (
        lambda i: first(i)["args"].__setitem__(1, {"weight": [7, "0.bias"]}),
        "which no model holds",
    ),
    "an unknown value": (lambda i: first(i)["args"].__setitem__(1, {"pickle": "gASV"}), "unknown value"),
    "a value of two kinds": (lambda i: first(i)["args"].__setitem__(1, {"slot": 0, "tensor": "0"}), "unknown value"),
    "an empty value": (lambda i: first(i)["args"].__setitem__(1, {}), "unknown value"),
    "a dtype that is none": (lambda i: first(i)["kwargs"].update(d={"dtype": "load"}), "'load' is no dtype"),
    "a device that is none": (lambda i: first(i)["kwargs"].update(d={"device": "x"}), "device 'x'"),
    "a slice of four": (lambda i: first(i)["kwargs"].update(d={"slice": [1, 2, 3, 4]}), "is no slice"),
    "a dict with a list as its key": (lambda i: first(i)["kwargs"].update(d={"dict": [[[1], 2]]}), "is no dict"),
    "an infinite size": (lambda i: first(i)["kwargs"].update(d={"size": [1.5]}), "is no size"),
    "arguments that are none": (lambda i: first(i).update(args={}), "args: is dict; expected list"),
    "results that are none": (lambda i: first(i).update(results=[-1]), "no new slots"),
    "results of another call": (lambda i: first(i).update(results=i["calls"][0]["results"]), "no new slots"),
    "results that do not end": (lambda i: first(i).update(results=[[[]]]), "no new slots"),
    "a call that is none": (lambda i: i["calls"].append(3), "is int; expected dict"),
    "a call of nothing": (lambda i: i["calls"].append({"args": []}), "its target"),
    "a model that is none": (lambda i: i["calls"][0].update(model=1), "model 1 is none of the 1 that were saved"),
    "an autocast that is none": (lambda i: first(i).update(casting=["cpu", "save", 1]), "no autocast"),
    "an autocast to a list": (lambda i: first(i).update(casting=["cpu", [], True]), "no autocast"),
    "an autocast on a list": (lambda i: first(i).update(casting=[[], "bfloat16", True]), "no autocast"),
    "a packed of numbers": (lambda i: first(i)["kwargs"].update(d={"packed": [1, 2, None, None]}), "is no packed"),
    "a packed without sizes": (
        lambda i: first(i)["kwargs"].update(d={"packed": [{"tensor": "0"}, None, None, None]}),
        "is no packed",
    ),
    "a packed of other sizes": (
        lambda i: first(i)["kwargs"].update(d={"packed": [{"tensor": "0"}, {"tensor": "0"}, None, None]}),
        "is no packed",
    ),
    "lists without end": (lambda i: i.update(other=deep(600)), "is nested deeper than"),
    "results in results": (lambda i: first(i).update(results=deep(250)), "no new slots"),
    "streams that are none": (lambda i: i["calls"][0].update(streams={}), "random streams"),
    "a stream outside of its words": (lambda i: i["calls"][0]["streams"].update(numpy=[9999, 0, 0.0]), "Twister"),
    "a stream before its words": (lambda i: i["calls"][0]["streams"].update(numpy=[-5, 0, 0.0]), "Twister"),
    "streams of another kind": (lambda i: i["calls"][0]["streams"].update(python=[2, None]), "Twister"),
    "a pass before its calls": (lambda i: i["passes"][0].update(calls=99), "99 calls came before it"),
    "a pass of a loss that nobody made": (lambda i: i["passes"][0].update(losses=[{"slot": 77}]), "slot 77"),
    "a gradient of nothing": (lambda i: i["passes"][0].update(gradients=[[55, None]]), "no gradient of something"),
    "passes that are none": (lambda i: i.update(passes=None), "passes: is NoneType; expected list"),
    "no models": (lambda i: i.pop("models"), "models: is NoneType; expected list"),
    "a model without a name": (lambda i: i["models"][0].update(name=None), "name: is NoneType; expected str"),
    "a name that moves the cursor": (lambda i: i["models"][0].update(kind="\x1b[2J"), "is no name"),
    "a weight without a tensor": (lambda i: i["models"][0]["parameters"].update(x=True), "'x' refers to no tensor"),
    "a tie to nothing": (lambda i: i["models"][0]["tied"].update(x="y"), "'y' refers to no tensor"),
    "a number that is a text": (lambda i: i["models"][0]["numbers"].update({"0": {"a": "x"}}), "expected a number"),
    "files that are not told of": (lambda i: i["files"].pop("weights.safetensors"), "files: weights.safetensors"),
    "details of no tensor": (lambda i: i["files"][FILES[0]]["tensors"].update(x={}), "holds no tensor 'x'"),
    "an unknown detail": (lambda i: i["files"][FILES[0]]["tensors"].update({"0": {"a": 1}}), "unknown detail 'a'"),
    "an order of other dimensions": (
        lambda i: i["files"][FILES[0]]["tensors"].update({"0": {"order": [0, 5]}}),
        "do not fit its shape",
    ),
    "pairs that are none": (lambda i: i["files"][FILES[0]]["tensors"].update({"0": {"complex": True}}), "do not fit"),
    "an unknown layout": (lambda i: i["files"][FILES[0]]["tensors"].update({"0": {"layout": "x"}}), "layout 'x'"),
    "a device beyond": (lambda i: i["files"][FILES[0]]["tensors"].update({"0": {"device": "meta"}}), "device 'meta'"),
    "another framework": (lambda i: i.update(framework="pickle"), "its framework is 'pickle'"),
    "an origin that is none": (lambda i: i.update(origin=3), "origin: is int; expected dict"),
    "a step that is none": (lambda i: i.update(step="1"), "step: is str; expected int"),
    "arguments without end": (lambda i: first(i)["args"].__setitem__(1, nested(200)), "nested deeper"),
}


def nested(depth: int) -> Any:
    """Tuples in tuples."""
    value: Any = 1
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


def deep(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("what", CHANGES)
def test_an_index_that_cannot_be_is_refused_though_its_checksum_is_right(bundle: Path, what: str) -> None:
    change, words = CHANGES[what]
    index = index_of(bundle)
    change(index)
    sealed(bundle, index)
    refused(bundle, words)


def places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in some JSON."""
    pairs: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, held in pairs for place in [(node, key), *places(held)]]


JUNK = (
    None,
    True,
    -1,
    0,
    3,
    10**30,
    1e999,
    "",
    "0",
    "cpu",
    [],
    [[]],
    {},
    {"slot": 0},
    {"tensor": "0"},
    {"size": [2, 3]},
    {"packed": [{"tensor": "0"}, {"tensor": "1"}, None, None]},
    [[[[[[[[]]]]]]]],
)


@pytest.mark.parametrize("seed", range(8))
def test_junk_in_any_place_is_refused_or_read(bundle: Path, seed: int) -> None:
    draw = random.Random(seed)
    original = (bundle / "bundle.json").read_text()
    refusals = 0
    for _ in range(60):
        index = json.loads(original)
        container, key = draw.choice([p for p in places(index) if p[0] is not index.get("files")])
        container[key] = draw.choice(JUNK)
        with contextlib.suppress(TypeError, KeyError, AttributeError):  # what seals needs a table of files itself
            sealed(bundle, index)
        try:
            load_bundle(bundle)
        except BundleError as error:
            refusals += 1
            assert len(str(error)) < 1500
    assert refusals > 10


@pytest.mark.parametrize("shape", [[2**62, 4], [2**40, 2**40], [-1], [10**30]])
def test_an_absurd_shape_is_refused(bundle: Path, shape: list[int]) -> None:
    file = bundle / "weights.safetensors"
    held = file.read_bytes()
    size = int.from_bytes(held[:8], "little")
    header = json.loads(held[8 : 8 + size])
    header["0/0.weight"]["shape"] = shape
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + held[8 + size :])
    sealed(bundle, index_of(bundle))
    refused(bundle, "weights.safetensors", "cannot be read as safetensors")


def test_a_link_is_not_followed(bundle: Path, original: Path) -> None:
    (bundle / FILES[1]).unlink()
    (bundle / FILES[1]).symlink_to(original / FILES[1])
    refused(bundle, f"{FILES[1]} is missing")


class Payload:
    """What a pickle of it does when it is read."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", [*FILES, "bundle.json"])
def test_a_pickle_is_refused_and_runs_nothing(bundle: Path, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "it-ran"
    text = pickle.dumps(Payload(trace))
    pickle.loads(text)
    assert trace.exists(), "the payload works"
    trace.unlink()
    index = index_of(bundle)
    (bundle / name).write_bytes(text)
    if name != "bundle.json":
        sealed(bundle, index)
    refused(bundle, name)
    assert not trace.exists()


AUDIT = """
import sys
from pathlib import Path
from gradscope_torch.bundle.reading import load_bundle
load_bundle(Path(sys.argv[1]))
heard = set()
def hear(event, args):
    if event == "open" and args[1] is not None and set(str(args[1])) & set("wax+"):
        heard.add("write")
    elif event not in {"open", "object.__getattr__", "os.scandir", "os.listdir", "glob.glob", "pathlib.Path.glob"}:
        heard.add(event)
sys.addaudithook(hear)
load_bundle(Path(sys.argv[1]))
print(sorted(heard))
"""


def test_reading_imports_runs_unpickles_and_writes_nothing(bundle: Path) -> None:
    words = [sys.executable, "-c", AUDIT, str(bundle)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr
    events = set(re.findall(r"'([^']+)'", done.stdout))
    allowed = {"mmap.__new__", "sys._getframe", "gc.collect", "ctypes.dlsym", "code.__new__"}
    assert not events - allowed, events
