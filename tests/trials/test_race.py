"""Successive halving within a budget."""

import math
import time

from gradscope.trials.printed import Measure
from gradscope.trials.race import CONTROL, Finish, Race

ACCURACY = Measure("accuracy", higher=True)


def race(values, seeds=3, deadline=math.inf, jobs=1, progress=None):
    """A race of arms that always reach these values, against 0.5."""
    ran = []

    def run(arm, seed):
        ran.append((arm, seed))
        value = 0.5 if arm == CONTROL else values[arm]
        return value if isinstance(value, Finish) else Finish(value)

    one = Race(run, ACCURACY, len(values), range(seeds), deadline, jobs, progress)
    one.hold()
    return one, ran


def test_every_arm_runs_with_the_first_seed():
    _, ran = race([0.1, 0.2, 0.6])
    assert sorted(ran)[:1] == [(CONTROL, 0)]
    assert {(0, 0), (1, 0), (2, 0)} <= set(ran)


def test_those_that_are_not_better_do_not_run_again():
    one, ran = race([0.1, 0.5, 0.6, 0.7])
    assert [a for a, s in ran if s == 1] == [CONTROL, 2, 3] or sorted(a for a, s in ran if s == 1) == [CONTROL, 2, 3]
    assert one.stopped == {0, 1}


def test_the_better_half_goes_on():
    _, ran = race([0.51 + i / 100 for i in range(10)])
    assert sorted(a for a, s in ran if s == 1) == [CONTROL, 5, 6, 7, 8, 9]
    assert sorted(a for a, s in ran if s == 2) == [CONTROL, 7, 8, 9]


def test_an_arm_that_fails_does_not_run_again():
    one, ran = race([Finish(0.9, "raised ValueError"), 0.6])
    assert (0, 1) not in ran
    assert one.failure(0) == "raised ValueError"
    assert one.failure(1) is None


def test_an_arm_that_was_left_behind_does_not_win():
    """One run of it says little: what seeds do to the control is known from all of its runs."""
    noisy = {0: 0.5, 1: 0.3, 2: 0.7}
    gains = [0.55, 0.6, 0.65, 0.7, 0.75, 0.8]
    one = Race(
        lambda arm, seed: Finish(noisy[seed] + (0 if arm == CONTROL else gains[arm] - 0.5)),
        ACCURACY, 6, range(3), math.inf,
    )  # fmt: skip
    one.hold()
    assert not one.effect(0).better
    assert one.effect(5).better


def test_nothing_is_begun_after_the_deadline_but_the_control():
    one, ran = race([0.9, 0.9], deadline=time.monotonic() - 1)
    assert ran[0] == (CONTROL, 0)
    assert one.effect(1) is None


def test_an_effect_pairs_an_arm_with_the_control():
    one, _ = race([0.9])
    assert dict(one.effect(0).control) == {0: 0.5, 1: 0.5, 2: 0.5}
    assert one.effect(0).gains == (0.4, 0.4, 0.4)


def test_jobs_run_at_the_same_time():
    one, ran = race([0.6, 0.7, 0.8], jobs=3)
    assert len(one.finishes) == len(ran) == 12


def test_progress_is_told():
    told = []
    race([0.6, 0.7], progress=lambda done, planned: told.append((done, planned)))
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert told[-1][0] <= told[-1][1]
