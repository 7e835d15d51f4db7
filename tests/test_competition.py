"""Competition: which optimizers have losses of their own, and whose a note is."""

from dataclasses import dataclass, field

from gradscope import Scope
from gradscope.competition import belongs, note_competition
from gradscope.history import History, Subject
from gradscope.row import Note


@dataclass
class Steps:
    """What steps."""

    step: int = 1
    history: History = field(default_factory=History)

    @classmethod
    def over(cls, **optimized: bool) -> "Steps":
        made = cls()
        for module, mine in optimized.items():
            made.history["gradient"].add(Subject(f"{module}.w", module, traits={"optimized": mine}))
        return made


def competing(one: Steps) -> bool:
    return bool(one.history.facts.get("competing"))


def test_one_alone_competes_with_nobody():
    scope, one = Scope(), Steps()
    note_competition(scope, one)
    note_competition(scope, one)
    assert not competing(one)


def test_two_that_take_turns_compete():
    scope, one, other = Scope(), Steps(), Steps()
    note_competition(scope, one)
    note_competition(scope, other)
    assert competing(one)
    assert competing(other)


def test_the_first_step_of_a_new_one_is_no_competition():
    scope, one, new = Scope(), Steps(), Steps(step=0)
    note_competition(scope, one)
    note_competition(scope, new)
    assert not competing(one)


def test_a_note_belongs_to_who_trains_its_module_and_a_loss_to_everybody():
    generator, critic = Steps.over(generator=True, critic=False), Steps.over(critic=True)
    both = [generator, critic]
    note = Note("module", "critic", ("order",), [0.0], module="critic")
    assert (belongs(note, generator, both), belongs(note, critic, both)) == (False, True)
    shared = Note("module", "embedding", ("order",), [0.0], module="embedding")
    assert all(belongs(shared, one, both) for one in both)
    loss = Note("loss", "mse", ("value",), [0.0], module="critic")
    assert all(belongs(loss, one, both) for one in both)
