"""Tables, their memory, and what is never forgotten."""

import math

import numpy as np
import pytest
from gradscope.history import DEFAULT_BUDGET, RUN, TABLES, UNOBSERVED, History, Subject, Table


def table(*subjects: str, **given) -> Table:
    """A table of two quantities."""
    made = Table(("norm", "mean"), **given)
    for s in subjects:
        made.add(Subject(s))
    return made


def memory(history: History) -> int:
    """The bytes that all tables hold."""
    return sum(t.column(t.quantities[0]).base.nbytes + t.steps.base.nbytes for t in history.tables.values())


@pytest.fixture(scope="module")
def long_run() -> History:
    """200000 steps of 50 parameters; two gradients and two losses are not finite."""
    history = History(objective="SGD")
    for i in range(50):
        history["gradient"].add(Subject(f"p{i}"))
    norms = np.ones(50)
    for step in range(200_000):
        lost = step in {33_333, 100_001}
        history["step"].record(step, {"loss": {RUN: math.nan if lost else 1.0}, "loss_nonfinite": {RUN: float(lost)}})
        norms[7] = math.nan if step in {12_345, 150_001} else 1.0
        history["gradient"].record(step, {"gradient_norm": norms})
    return history


def test_values_are_found_by_quantity_and_subject():
    t = table("a", "b")
    t.record(3, {"norm": {"a": 1.0, "b": 2.0}})
    t.record(5, {"norm": {"b": 4.0}, "mean": {"a": 9.0}})
    assert t.steps.tolist() == [3, 5]
    assert t.series("norm", "b").tolist() == [2.0, 4.0]
    assert t.series("mean", "a")[1] == 9.0


def test_an_array_writes_all_subjects():
    t = table("a", "b")
    t.record(0, {"norm": np.array([1.0, 2.0])})
    assert t.column("norm").tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("fill", [math.nan, UNOBSERVED])
def test_a_cell_that_was_never_written_holds_the_fill(fill):
    t = table("a", "b", fill=fill)
    t.record(0, {"norm": {"a": 1.0}})
    assert t.series("norm", "b").tolist() == pytest.approx([fill], nan_ok=True)


def test_a_second_call_for_a_step_adds_to_its_row():
    t = table("a", "b")
    t.record(0, {"norm": {"a": 1.0}})
    t.record(0, {"norm": {"b": 2.0}})
    assert t.column("norm").tolist() == [[1.0, 2.0]]


def test_a_step_that_comes_too_late_is_let_go():
    t = table("a")
    t.record(1, {"norm": {"a": 1.0}})
    t.record(5, {"norm": {"a": 5.0}})
    t.record(3, {"norm": {"a": 3.0}})
    assert t.series("norm", "a").tolist() == [1.0, 5.0]


def test_a_subject_that_comes_late_was_unobserved_before():
    t = table("a", fill=UNOBSERVED)
    t.record(0, {"norm": {"a": 1.0}})
    t.add(Subject("b"))
    t.record(1, {"norm": {"a": 1.0, "b": 2.0}})
    assert t.series("norm", "b").tolist() == [UNOBSERVED, 2.0]


def test_a_known_subject_is_updated_in_its_column():
    t = table("a", "b")
    assert t.add(Subject("a", source="x.py:1")) == 0
    assert [s.source for s in t.subjects] == ["x.py:1", None]


def test_a_renamed_subject_keeps_its_numbers():
    t = table("a", "b")
    t.record(0, {"norm": {"b": 2.0}})
    t.rename(1, Subject("c"))
    assert (t.index("b"), t.subject("b")) == (None, None)
    assert t.series("norm", "c").tolist() == [2.0]


def test_a_history_has_the_tables_and_quantities_that_rules_know():
    history = History()
    assert {name: t.quantities for name, t in history.tables.items()} == dict(TABLES)


def test_class_counts_add_up_and_grow():
    history = History()
    history.count_classes("call", np.array([1, 2]))
    history.count_classes("call", np.array([1, 0, 5]))
    history.count_classes("call", np.array([1]))
    assert history.classes["call"].tolist() == [3, 2, 5]


@pytest.mark.parametrize(
    ("module", "source"), [("net", "m.py:1"), ("call", "t.py:2"), ("head", "h.py:3"), ("other", None), (None, None)]
)
def test_the_source_of_a_module_is_looked_for_in_all_tables(module, source):
    history = History()
    history["module"].add(Subject("net", "net", source="m.py:1"))
    history["loss"].add(Subject("call", source="t.py:2"))
    history["parameter"].add(Subject("head.weight", "head", source="h.py:3"))
    assert history.source_of(module) == source


def test_a_short_run_is_kept_whole():
    history = History()
    for step in range(1000):
        history["step"].record(step, {"loss": {RUN: float(step)}})
    assert history.run("loss").tolist() == list(range(1000))


def test_a_long_run_stays_under_its_budget(long_run):
    assert memory(long_run) <= DEFAULT_BUDGET


def test_a_smaller_budget_is_kept_too():
    history = History(budget=2**16)
    history["gradient"].add(Subject("p"))
    for step in range(20_000):
        history["step"].record(step, {"loss": {RUN: 1.0}})
        history["gradient"].record(step, {"gradient_norm": np.ones(1)})
    assert memory(history) <= 2**16


def test_all_steps_of_a_long_run_are_counted(long_run):
    assert long_run.steps == 200_000


@pytest.mark.parametrize("name", ["step", "gradient"])
def test_the_first_and_the_last_steps_of_a_long_run_are_kept(long_run, name):
    steps = long_run[name].steps
    assert steps[0] == 0
    assert steps[-1000:].tolist() == list(range(199_000, 200_000))


def test_gradients_of_a_long_run_that_are_not_finite_are_kept(long_run):
    norms = long_run["gradient"].column("gradient_norm")
    assert long_run["gradient"].steps[~np.isfinite(norms).all(axis=1)].tolist() == [12_345, 150_001]


def test_gradients_that_are_not_finite_are_kept_when_the_table_is_thinned():
    history = History(budget=2**16)
    history["gradient"].add(Subject("p"))
    for step in range(20_000):
        history["gradient"].record(step, {"gradient_norm": np.array([math.nan if step in {1235, 9001} else 1.0])})
    t = history["gradient"]
    assert t.dropped > 0
    assert t.steps[np.isnan(t.series("gradient_norm", "p"))].tolist() == [1235, 9001]


def test_losses_of_a_long_run_that_are_not_finite_are_kept(long_run):
    assert long_run["step"].steps[long_run.run("loss_nonfinite") == 1].tolist() == [33_333, 100_001]


def test_weights_that_are_not_finite_are_kept_when_the_table_is_thinned():
    history = History(budget=2**16)
    history["parameter"].add(Subject("p"))
    for step in range(20_000):
        history["parameter"].record(step, {"nonfinite": {"p": float(step in {1235, 9001})}})
    t = history["parameter"]
    assert t.dropped > 0
    assert t.steps[t.series("nonfinite", "p") > 0].tolist() == [1235, 9001]


def test_rows_thinned_out_are_older_than_the_rows_kept_whole():
    t = table("a", budget=2**14)
    for step in range(5000):
        t.record(step, {"norm": {"a": float(step)}})
    gaps = np.diff(t.steps)
    assert (np.diff(gaps) <= 0).all()
    assert t.series("norm", "a").tolist() == t.steps.tolist()
