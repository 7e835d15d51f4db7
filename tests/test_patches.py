"""Patches: what is wrapped looks like the original, and comes back."""

from gradscope.patches import Patches


class Base:
    def greet(self):
        """Says hello."""
        return "hello"


class Person(Base):
    @staticmethod
    def kind():
        return "person"


def louder(original):
    def shout(*args):
        return original(*args) + "!"

    return shout


def test_a_wrapper_calls_the_original_and_looks_like_it():
    patches = Patches(mark=3)
    patches.wrap(Base, "greet", louder)
    assert Person().greet() == "hello!"
    greet = vars(Base)["greet"]
    assert (greet.__name__, greet.__qualname__, greet.__doc__) == ("greet", "Base.greet", "Says hello.")
    assert (greet.__module__, greet.mark) == (__name__, 3)
    patches.close()
    assert Person().greet() == "hello"


def test_what_was_inherited_is_inherited_again():
    patches = Patches()
    patches.wrap(Person, "greet", louder)
    assert (Person().greet(), Base().greet()) == ("hello!", "hello")
    patches.close()
    assert "greet" not in vars(Person)


def test_a_static_method_stays_one():
    patches = Patches()
    before = vars(Person)["kind"]
    patches.wrap(Person, "kind", louder)
    assert Person().kind() == "person!"
    patches.close()
    assert vars(Person)["kind"] is before


def test_what_somebody_else_wrapped_since_stays_and_is_not_wrapped_twice():
    before = vars(Base)["greet"]
    patches = Patches()
    patches.wrap(Base, "greet", louder)
    ours = vars(Base)["greet"]
    Base.greet = theirs = louder(ours)
    patches.close()
    assert vars(Base)["greet"] is theirs
    patches.wrap(Base, "greet", louder)
    assert Base().greet() == "hello!!"
    Base.greet = ours
    patches.close()
    assert vars(Base)["greet"] is before


def test_a_second_wrapping_of_the_same_attribute_does_nothing():
    before = vars(Base)["greet"]
    patches = Patches()
    patches.wrap(Base, "greet", louder)
    patches.wrap(Base, "greet", louder)
    assert Base().greet() == "hello!"
    patches.close()
    assert vars(Base)["greet"] is before
