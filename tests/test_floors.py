"""A module imports only lower floors, and the core imports nothing but numpy and pluggy.

18  __init__
17  trials.scripts
16  trials.forks, trials.workloads
15  trials.rerun
14  check, reference.healing
13  scope
12  diagnosis
11  plugins, gate
10  builtin
 9  rewrites.connect_parameter, rewrites.check_data, rewrites.full_precision_loss, rewrites.open_output
 8  rewrites/*, reference.training, reference.cold
 7  program.normalizations, program.initializers, trials.verdicts, trials.table
 7  reference.specimens, reference.observation
 6  rules/*, remedies/*, reporters/*, reference.comparison, reference.surgery, reference.demonstrations
 7  logbook
 6  program.activations, program.outputs, trials.outcome, metrics
 5  report, notes, usual, fit, optimizers, reference.plans, program.computed
 4  rule, remedy, rewriting, trials.plan, program.rates, program.clipping, program.schedules, program.places
 4  program.penalties
 4  treatment, regimen, parameters, trend, gap, row, gains, reference.trainer, reference.gradients
 4  reference.model, arrays
 3  history, reference.adapter, program.numbers, program.surroundings, program.loaders, program.objectives
 3  trials.race, reference.optimizers, reference.network
 2  program.names, program.files, trials.effect, statistics, adapter, packaged, workload, script, reference.activations
 2  reference.losses, reference.initial
 2  reference.normalization, reference.dropout, reference.pooling
 1  trials.seeding, trials.printed, program.source
 1  settings, accidents, verdict, competition, idle, lineage, moving, overwritten
 1  reference.layers
 0  trials, trials.scratch
 0  program, errors, origin, reporter, hookspecs, frames, guard, schedule, imports, patches, recipe
 0  reference

Imports for type checking alone may look up: nothing is loaded by them.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import gradscope
import pytest

ROOT = Path(gradscope.__file__).parent
FLOORS = {
    name: int(line[:2])
    for line in __doc__.splitlines()
    if line[:2].strip().isdigit()
    for name in line[2:].replace("*", "").replace("/", "").replace(" ", "").split(",")
}
FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in sorted(ROOT.rglob("*.py"))}
BESIDE = {"numpy", "pluggy"}


def floor(module: str) -> int | None:
    """The floor of a module of gradscope, by its own name or by that of its folder."""
    return FLOORS.get(module, FLOORS.get(module.split(".", maxsplit=1)[0]))


def imports(path: Path) -> Iterator[str]:
    """The modules that a file loads: all but those for type checking alone."""
    tree = ast.parse(path.read_text("utf-8"))
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "gradscope":
            yield from (f"gradscope.{a.name}" for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("module", FILES)
def test_every_module_has_a_floor(module):
    assert floor(module) is not None, f"draw {module} into {Path(__file__).name}"


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_lower_floors(module):
    inner = [name.removeprefix("gradscope.") for name in imports(FILES[module]) if name.startswith("gradscope.")]
    high = [name for name in inner if floor(name) is None or floor(name) >= floor(module)]
    assert not high, f"{module} (floor {floor(module)}) imports {high}"


@pytest.mark.parametrize("module", FILES)
def test_the_core_imports_only_numpy_and_pluggy_beside_the_standard_library(module):
    top = {name.partition(".")[0] for name in imports(FILES[module])}
    assert top <= BESIDE | {"gradscope"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith(("rules.", "remedies.")) and "__init__" not in m])
def test_a_rule_or_remedy_is_one_file(module):
    decorated = [
        node.name
        for node in ast.parse(FILES[module].read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    assert decorated == [module.rpartition(".")[2]]
