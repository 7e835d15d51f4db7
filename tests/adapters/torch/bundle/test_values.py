"""Arguments and tensors come back as they were."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import Tensor, nn

from gradscope_torch.bundle.stands import Record, Row, Unsaved
from gradscope_torch.bundle.tensors import Shelf
from gradscope_torch.bundle.values import Reader, Writer
from gradscope_torch.replay.arguments import label
from gradscope_torch.replay.calls import Slot

Batch = namedtuple("Batch", ["x", "y"])


@dataclass
class Options:
    """As people hand to their models."""

    scale: Tensor
    depth: int = 3


def there_and_back(value: Any, folder: Path, **held: Any) -> Any:
    """The value, as JSON and safetensors and back."""
    shelf = Shelf()
    node = Writer(shelf, held.get("weights", {}), lambda _: None).write(value, "it")
    shelf.write(folder / "it.safetensors")
    read = Shelf.read(folder / "it.safetensors", shelf.details)
    reader = Reader(lambda key, _: read.get(key), lambda pair, _: pair, lambda number, _: Slot(number))
    return reader.read(node, "it")


PLAIN = [
    *[None, True, 0, -3, 10**40, 2.5, math.inf, -math.inf, "", "text\n\ud800", 1 + 2j, complex(math.inf, 0.0), ...],
    *[[], (), {}, [1, [2]], (1, (2.5, None)), {"a": (1,), 2: [3], None: True, (1, 2): "x"}, slice(None, 3), Slot(4)],
    *[torch.Size([2, 0]), torch.float16, torch.strided, torch.channels_last, torch.device("cpu"), slice(1, 2, -1)],
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back(value: Any, tmp_path: Path) -> None:
    found = there_and_back(value, tmp_path)
    assert found == value
    assert type(found) is type(value)


def test_what_is_not_a_number_comes_back(tmp_path: Path) -> None:
    assert math.isnan(there_and_back(math.nan, tmp_path))


def test_numbers_and_arrays_of_numpy_come_back(tmp_path: Path) -> None:
    assert there_and_back([np.float32(0.5), np.int64(3), np.bool_(True)], tmp_path) == [0.5, 3, True]
    assert math.isnan(there_and_back(np.float64("nan"), tmp_path))
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    found = there_and_back({"a": array}, tmp_path)["a"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == array.dtype
    assert (found == array).all()


torch.manual_seed(0)
BASE = torch.randn(2, 3, 4, 5)
TENSORS = {
    "float": BASE,
    "not finite": torch.tensor([math.nan, math.inf, -math.inf, -0.0]),
    "of no dimension": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
    "empty, of one": torch.empty(0),
    "transposed": BASE.transpose(1, 2),
    "channels last": BASE.to(memory_format=torch.channels_last),
    "a view with gaps": BASE[:, ::2, 1:],
    "expanded": torch.ones(1, 3).expand(4, 3),
    "bfloat16": BASE.bfloat16(),
    "float16": BASE.half(),
    "float64": BASE.double(),
    "bool": BASE > 0,
    "uint8": torch.arange(5, dtype=torch.uint8),
    "int64": torch.tensor([-(2**62), 2**62]),
    "complex": torch.randn(2, 3, dtype=torch.complex64),
    "complex, conjugated": torch.randn(2, 3, dtype=torch.complex128).conj(),
    "complex, transposed": torch.randn(2, 3, dtype=torch.complex64).T,
    "negated lazily": torch.randn(3, dtype=torch.complex64).conj().imag,
    "sparse": torch.eye(3).to_sparse(),
    "with gradient": torch.randn(3, requires_grad=True),
    "of a graph": torch.randn(3, requires_grad=True) * 2,
    "a parameter": nn.Parameter(torch.randn(2)),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of this layout torch says that it is new
    TENSORS["sparse rows"] = torch.eye(3).to_sparse_csr()


def bits(tensor: Tensor) -> list[int]:
    """Its bytes."""
    dense = (tensor if tensor.layout is torch.strided else tensor.to_dense()).detach().resolve_conj().resolve_neg()
    return [] if not dense.numel() else dense.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_come_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    tensor = TENSORS[name]
    found = there_and_back(tensor, tmp_path)
    assert bits(found) == bits(tensor)
    assert (found.shape, found.dtype, found.layout) == (tensor.shape, tensor.dtype, tensor.layout)
    assert found.requires_grad == tensor.requires_grad
    assert found.is_leaf


def test_strides_without_gaps_come_back(tmp_path: Path) -> None:
    for name in ("transposed", "channels last", "complex, transposed"):
        assert there_and_back(TENSORS[name], tmp_path).stride() == TENSORS[name].stride()


def test_a_tensor_that_stands_twice_is_stored_once(tmp_path: Path) -> None:
    x = torch.rand(3)
    shelf = Shelf()
    node = Writer(shelf, {}, lambda _: None).write([x, {"x": x}, x[1:]], "it")
    assert node[0] == {"tensor": "0"}
    assert node[1] == {"dict": [["x", {"tensor": "0"}]]}
    assert len(shelf.tensors) == 2
    assert shelf.tensors["0"].data_ptr() != x.data_ptr()


def test_a_weight_is_named_and_not_stored(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.rand(3))
    assert there_and_back((weight,), tmp_path, weights={id(weight): (0, "head.weight")}) == ([0, "head.weight"],)


def test_the_name_of_the_variable_comes_back(tmp_path: Path) -> None:
    shelf = Shelf()
    Writer(shelf, {}, lambda _: "goals").write(torch.rand(2), "it")
    assert label(Shelf(shelf.tensors, shelf.details).get("0")) == "goals"


def test_a_packed_sequence_comes_back(tmp_path: Path) -> None:
    packed = nn.utils.rnn.pack_sequence([torch.rand(3, 2), torch.rand(1, 2)])
    found = there_and_back(packed, tmp_path)
    assert isinstance(found, nn.utils.rnn.PackedSequence)
    assert torch.equal(found.data, packed.data)
    assert nn.LSTM(2, 3)(found)[0].data.shape == (4, 3)


def test_rows_and_records_stand_for_classes_that_are_not_here(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    output = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=torch.ones(1, 2, 3))
    given = (Batch(torch.ones(2), 1), Options(torch.zeros(1)), output, OrderedDict(a=1))
    row, options, found, ordered = there_and_back(given, tmp_path)
    assert isinstance(row, Row)
    assert row.y == row[1] == 1
    x, _ = row
    assert torch.equal(x, torch.ones(2))
    assert isinstance(options, Record)
    assert options.depth == 3
    assert torch.equal(found[0], output[0])
    assert torch.equal(found.last_hidden_state, found["last_hidden_state"])
    assert ordered["a"] == 1
    with pytest.raises(AttributeError, match="the Options that was saved has no 'width'; it has scale, depth"):
        _ = options.width
    with pytest.raises(AttributeError, match="the Batch that was saved has no 'z'; it has x, y"):
        _ = row.z


class Anything:
    """An object that nobody can store."""


UNSTORABLE = [
    (Anything(), "Anything"),
    (print, "builtin_function_or_method"),
    (Anything, "type"),
    (np.array(["text"]), "ndarray"),
    (torch.empty(3, device="meta"), "Tensor"),
    ({1, 2}, "set"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("value", "kind"), UNSTORABLE, ids=lambda v: str(v)[:20])
def test_what_cannot_be_stored_is_told_by_its_place_and_class(value: Any, kind: str) -> None:
    writer = Writer(Shelf(), {}, lambda _: None)
    node = writer.write({"a": [1, value]}, "call 3, cache")
    assert node == {"dict": [["a", [1, {"unsaved": kind}]]]}
    (told,) = writer.missing
    assert told.startswith(f"call 3, cache['a'][1]: a {kind}: ")
    reader = Reader(lambda *_: None, lambda *_: None, lambda *_: None)
    assert reader.read(node, "it")["a"][1] == Unsaved(kind)


def test_what_contains_itself_is_cut_off() -> None:
    endless: list[Any] = []
    endless.append(endless)
    writer = Writer(Shelf(), {}, lambda _: None)
    writer.write(endless, "call 0, x")
    assert "it is nested deeper than 32" in writer.missing[0]
