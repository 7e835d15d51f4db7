"""The random streams of a run."""

import os
import random

import numpy as np
import pytest
import torch
from gradscope.trials.seeding import asks, reseed, seeded


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("import os\nseed = int(os.environ.get('SEED', 0))", True),
        ("from os import environ\nseed = environ['SEED']", True),
        ("import os\nseed = os.getenv('SEED')", True),
        ("SEED = 42\ntorch.manual_seed(SEED)", False),
        ("os.environ['OTHER']", False),
        ("print('SEED')", False),
    ],
)
def test_a_program_asks_for_its_seed_by_the_environment(text, asked):
    assert asks([text]) is asked


def drawn():
    """What a program that sets its own seeds draws."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    return random.random(), np.random.rand(), torch.rand(1).item(), np.random.default_rng(1).random()


def test_seeds_that_a_program_sets_are_moved_and_put_back():
    before = drawn()
    with seeded(0, moving=True):
        assert drawn() == before
    with seeded(1, moving=True):
        first = drawn()
    with seeded(1, moving=True):
        assert drawn() == first
    assert all(a != b for a, b in zip(first, before, strict=True))
    assert drawn() == before


def test_seeds_of_a_program_that_asks_are_left_to_it():
    before = drawn()
    with seeded(1, moving=False):
        assert drawn() == before


def test_the_environment_is_as_it_was(monkeypatch):
    monkeypatch.setenv("SEED", "7")
    with seeded(2, moving=True):
        assert os.environ["SEED"] == "2"
    assert os.environ["SEED"] == "7"
    monkeypatch.delenv("SEED")
    with seeded(2, moving=True):
        pass
    assert "SEED" not in os.environ


def test_a_stream_that_was_moved_is_still_one_of_its_class():
    original = np.random.RandomState
    with seeded(1, moving=True):
        one = np.random.RandomState(3)
        assert isinstance(one, original)
        assert one.rand() != original(3).rand()


def test_streams_are_seeded_once_more():
    reseed(3)
    first = random.random(), np.random.rand(), torch.rand(1).item()
    reseed(3)
    assert first == (random.random(), np.random.rand(), torch.rand(1).item())
