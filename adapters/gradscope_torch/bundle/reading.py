"""Reading a bundle, which may come from a stranger: JSON and safetensors alone, every entry checked, nothing run and
nothing imported that it names."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gradscope.errors import BundleError

from gradscope_torch.bundle.functions import functions
from gradscope_torch.bundle.streams import read_streams
from gradscope_torch.bundle.tensors import DEVICES, Shelf
from gradscope_torch.bundle.values import DEEPEST, DTYPES, Reader
from gradscope_torch.bundle.weights import Plan
from gradscope_torch.bundle.writing import (
    FORMAT,
    INDEX,
    SHELVES,
    STREAMS,
    TENSORS,
    WEIGHTS,
    digest_of,
    digest_of_file,
    versions,
)
from gradscope_torch.replay.calls import Slot

LONGEST = 256 * 2**20
"""Bytes of bundle.json that are read at all."""
DEEPEST_INDEX = 8 * DEEPEST
"""Levels of bundle.json: a value takes four at most for each of its own."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as read. index: what bundle.json says, checked. plans: of its models."""

    path: Path
    index: dict[str, Any]
    shelves: dict[str, Shelf]
    plans: list[Plan]

    @property
    def step(self) -> int:
        """The step that failed."""
        return int(self.index["step"])

    @property
    def origin(self) -> dict[str, Any] | None:
        """The origin as it was found, or None."""
        found: dict[str, Any] | None = self.index["origin"]
        return found

    @property
    def missing(self) -> list[str]:
        """What could not be saved."""
        return list(self.index["missing"])

    @property
    def versions(self) -> dict[str, str]:
        """name -> version, of what wrote it."""
        return dict(self.index["versions"])


def load_bundle(path: Path) -> Bundle:
    """Reads and checks a bundle. Raises BundleError."""
    path = Path(path)
    index = index_of(path)
    check_version(index, path)
    if index.get("sha256") != digest_of(index):
        raise BundleError(f"{path / INDEX}: its checksum differs: it was altered after it was written")
    files = expect(index.get("files"), dict, f"{path / INDEX}: files")
    shelves = {name: shelf_of(path / f"{name}.safetensors", files, path) for name in SHELVES}
    bundle = Bundle(path, index, shelves, plans_of(index, shelves, path))
    check_index(bundle)
    return bundle


def index_of(path: Path) -> dict[str, Any]:
    """What bundle.json says."""
    file = path / INDEX
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise BundleError(f"{path}: {what}; expected a bundle: the folder of one step, with {INDEX} in it")
    if not file.is_file() or file.is_symlink():
        inside = sorted(p.parent.name for p in path.glob(f"*/{INDEX}"))[:4]
        hint = f"; bundles in there: {', '.join(inside)}" if inside else ""
        raise BundleError(f"{path}: is no bundle: it has no {INDEX}{hint}")
    if file.stat().st_size > LONGEST:
        raise BundleError(f"{file}: is longer than {LONGEST} bytes")
    try:
        index = json.loads(file.read_bytes().decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file}: is broken or truncated: no JSON: {str(error) or 'nested too deep'}") from error
    if is_deep(index):
        raise BundleError(f"{file}: is nested deeper than {DEEPEST_INDEX}")
    return expect(index, dict, str(file))


def is_deep(index: Any) -> bool:
    """Whether it is nested deeper than any index is."""
    level = [index]
    for _ in range(DEEPEST_INDEX):
        level = [v for n in level if isinstance(n, dict | list) for v in (n.values() if isinstance(n, dict) else n)]
    return bool(level)


def no_constant(name: str) -> Any:
    """Refuses NaN and Infinity, which are no JSON."""
    raise ValueError(f"{name} is no JSON")


def check_version(index: dict[str, Any], path: Path) -> None:
    """Raises BundleError unless this version can read it."""
    found = index.get("gradscope_bundle")
    if type(found) is not int or found < 1:
        raise BundleError(f"{path}: is no bundle: {INDEX} has no version of its format ('gradscope_bundle')")
    if found > FORMAT:
        wrote = index.get("versions")
        by = (
            f", written by gradscope {wrote['gradscope']!s:.40}"
            if isinstance(wrote, dict) and "gradscope" in wrote
            else ""
        )
        raise BundleError(
            f"{path}: its format is version {found}{by}; gradscope {versions()['gradscope']} reads up to {FORMAT}: "
            "install a newer gradscope"
        )
    if index.get("framework") != "torch":
        raise BundleError(f"{path}: its framework is {index.get('framework')!r:.40}; known: 'torch'")


def shelf_of(file: Path, files: dict[str, Any], path: Path) -> Shelf:
    """The tensors of one file, of which size and checksum are right."""
    where = f"{path / INDEX}: files: {file.name}"
    said = expect(files.get(file.name), dict, where)
    if not file.is_file() or file.is_symlink():
        raise BundleError(f"{path}: {file.name} is missing")
    size = file.stat().st_size
    if size != said.get("bytes"):
        how = "truncated" if isinstance(said.get("bytes"), int) and size < said["bytes"] else "altered"
        raise BundleError(f"{file}: is {how}: {size} bytes, {said.get('bytes')!r:.40} were written")
    if digest_of_file(file) != said.get("sha256"):
        raise BundleError(f"{file}: its checksum differs: it was altered after it was written")
    return Shelf.read(file, expect(said.get("tensors"), dict, where))


def plans_of(index: dict[str, Any], shelves: dict[str, Shelf], path: Path) -> list[Plan]:
    """What is said of the models."""
    plans = []
    for at, said in enumerate(expect(index.get("models"), list, f"{path / INDEX}: models")):
        where = f"{path / INDEX}: model {at}"
        expect(said, dict, where)
        for key in ("name", "kind", "prefix"):
            printable(expect(said.get(key), str, f"{where}: {key}"), f"{where}: {key}")
        for key, kind in (("parameters", bool), ("buffers", bool), ("tied", str), ("modes", bool), ("numbers", dict)):
            for name, value in expect(said.get(key), dict, f"{where}: {key}").items():
                expect(value, kind, f"{where}: {key}: {printable(name, where)}")
        plan = Plan(**{f.name: said[f.name] for f in fields(Plan)})
        for held in plan.numbers.values():
            for name, value in held.items():
                if type(value) not in {int, float, bool}:
                    raise BundleError(f"{where}: numbers: {name} is {type(value).__name__}; expected a number")
        whole = {*plan.parameters, *plan.buffers}
        for name in (*whole, *plan.tied.values()):
            if name not in whole or f"{at}/{name}" not in shelves[WEIGHTS].tensors:
                raise BundleError(f"{where}: {name!r} refers to no tensor of {WEIGHTS}.safetensors")
        plans.append(plan)
    return plans


def check_index(bundle: Bundle) -> None:
    """Raises BundleError for calls and passes that are none, or that refer to nothing."""
    index, where = bundle.index, str(bundle.path / INDEX)
    expect(index.get("step"), int, f"{where}: step")
    expect(index.get("missing"), list, f"{where}: missing")
    expect(index.get("versions"), dict, f"{where}: versions")
    if index.get("origin") is not None:
        expect(index["origin"], dict, f"{where}: origin")
    made: set[int] = set()
    before = [set(made)]
    for at, call in enumerate(expect(index.get("calls"), list, f"{where}: calls")):
        made |= check_call(bundle, expect(call, dict, f"{where}: call {at}"), made, f"{where}: call {at}")
        before.append(set(made))
    for at, one in enumerate(expect(index.get("passes"), list, f"{where}: passes")):
        check_pass(bundle, expect(one, dict, f"{where}: pass {at}"), before, f"{where}: pass {at}")


def check_call(bundle: Bundle, call: dict[str, Any], made: set[int], where: str) -> set[int]:
    """The slots that a call makes."""
    target(bundle, call, where)
    reader = Reader(lambda v, w: tensor_key(bundle, v, w), lambda v, w: weight_key(bundle, v, w), slots_in(made))
    reader.read(expect(call.get("args"), list, f"{where}: args"), f"{where}: args")
    for name, value in expect(call.get("kwargs"), dict, f"{where}: kwargs").items():
        reader.read(value, f"{where}: {name}")
    results = expect(call.get("results"), list, f"{where}: results")
    if not all(type(r) is int and r >= 0 for r in results) or len({*results} | made) != len(results) + len(made):
        raise BundleError(f"{where}: its results {str(results)!r:.80} are no new slots")
    for key in ("grad", "differentiable", "overwritten"):
        expect(call.get(key), bool, f"{where}: {key}")
    if call.get("line") is not None:
        expect(call["line"], str, f"{where}: line")
    casting_of(call, where)
    if call.get("streams") is not None:
        read_streams(call["streams"], bundle.shelves[STREAMS], where)
    return set(results)


def check_pass(bundle: Bundle, one: dict[str, Any], before: list[set[int]], where: str) -> None:
    """Whether what is said of a backward pass can be."""
    calls = expect(one.get("calls"), int, f"{where}: calls")
    expect(one.get("traceable"), bool, f"{where}: traceable")
    if not 0 <= calls < len(before):
        raise BundleError(f"{where}: {calls} calls came before it; there are {len(before) - 1}")
    reader = Reader(
        lambda v, w: tensor_key(bundle, v, w), lambda v, w: weight_key(bundle, v, w), slots_in(before[calls])
    )
    reader.read(expect(one.get("losses"), list, f"{where}: losses"), f"{where}: losses")
    for name, value in expect(one.get("options"), dict, f"{where}: options").items():
        reader.read(value, f"{where}: {name}")
    for pair in expect(one.get("gradients"), list, f"{where}: gradients"):
        if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not int or pair[0] not in before[calls]:
            raise BundleError(f"{where}: {str(pair)!r:.80} is no gradient of something that a call made")
        reader.read(pair[1], where)


def target(bundle: Bundle, call: dict[str, Any], where: str) -> Any:
    """(model, path) of what was called, a function, or None where that could not be saved."""
    if "model" in call:
        at = call["model"]
        if type(at) is not int or not 0 <= at < len(bundle.plans):
            raise BundleError(f"{where}: model {at!r:.40} is none of the {len(bundle.plans)} that were saved")
        return at, expect(call.get("path"), str, f"{where}: path")
    if "function" in call:
        name = call["function"]
        found = functions().get(name) if isinstance(name, str) else None
        if found is None:
            raise BundleError(f"{where}: {name!r:.80} is no function that a bundle may call")
        return found
    expect(call.get("unsaved"), str, f"{where}: its target")
    return None


def casting_of(call: dict[str, Any], where: str) -> tuple[str, Any, bool] | None:
    """(device type, type, whether casts are cached) of the autocast that was on."""
    said = call.get("casting")
    if said is None:
        return None
    known = isinstance(said, list) and len(said) == 3 and said[0] in DEVICES and isinstance(said[1], str)
    if not known or said[1] not in DTYPES:
        raise BundleError(f"{where}: {str(said)!r:.80} is no autocast")
    return said[0], DTYPES[said[1]], bool(said[2])


def tensor_key(bundle: Bundle, key: Any, where: str) -> Any:
    """The tensor of that key."""
    if not isinstance(key, str) or key not in bundle.shelves[TENSORS].tensors:
        raise BundleError(f"{where}: refers to tensor {key!r:.40}, which {TENSORS}.safetensors does not hold")
    return bundle.shelves[TENSORS].tensors[key]


def weight_key(bundle: Bundle, pair: Any, where: str) -> Any:
    """The weight of that model and name, as it lies on the shelf."""
    known = isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and 0 <= pair[0] < len(bundle.plans)
    plan = bundle.plans[pair[0]] if known else None
    if plan is None or pair[1] not in {*plan.parameters, *plan.buffers, *plan.tied}:
        raise BundleError(f"{where}: refers to weight {str(pair)!r:.80}, which no model holds")
    return bundle.shelves[WEIGHTS].tensors[f"{pair[0]}/{plan.tied.get(pair[1], pair[1])}"]


def slots_in(made: set[int]) -> Any:
    """What finds a slot among those that were made before."""

    def find(number: Any, where: str) -> Slot:
        if type(number) is not int or number not in made:
            raise BundleError(f"{where}: refers to slot {number!r:.40}, which no earlier call made")
        return Slot(number)

    return find


def printable(text: str, where: str) -> str:
    """The text, which is a name. Raises BundleError where it could do more to a terminal than be shown."""
    if not text.isprintable():
        raise BundleError(f"{where}: {text!r:.80} is no name")
    return text


def expect(value: Any, kind: type, where: str) -> Any:
    """The value, which is of that kind. Raises BundleError."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BundleError(f"{where}: is {type(value).__name__}; expected {kind.__name__}")
    return value
