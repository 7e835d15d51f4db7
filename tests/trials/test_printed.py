"""Which number of a program's output is compared, and of which more is better."""

import math

import pytest
from gradscope.errors import UsageError
from gradscope.trials.printed import Measure, chosen, direction, numbers_in

EPOCHS = "epoch 1 loss 0.9 acc 0.4\nepoch 2 loss 0.5 acc 0.8\n"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("METRIC accuracy 0.93", "accuracy", 0.93),
        ("METRIC accuracy 0.93", "metric accuracy", 0.93),
        ("test accuracy: 93.1%", "test accuracy", 93.1),
        ("val_loss=1.2e-3", "val_loss", 1.2e-3),
        ("Final RMSE is 4.", "rmse", 4.0),
        ("loss nan", "loss", math.nan),
        ("mae = -inf", "mae", -math.inf),
        ("Accuracy: (0.5)", "accuracy", 0.5),
        ("test accuracy: 0.93.", "test accuracy", 0.93),
        ('{"test_loss": 0.31, "n": 3}', "test_loss", 0.31),
        ("price error 1,234.5 per house", "price error", 1234.5),
    ],
)
def test_a_number_is_told_by_the_name_before_it(line, name, value):
    found = numbers_in(line)[name]
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_the_last_number_of_a_name_counts():
    assert numbers_in(EPOCHS)["loss"] == 0.5


@pytest.mark.parametrize(
    "line", ["no number here", "accuracy 9888/10000", "loss v1.2", "version v1.2.3", "2024-01-01", ""]
)
def test_what_names_no_number_tells_none(line):
    assert all(direction(name) is None for name in numbers_in(line))


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("accuracy", True),
        ("balanced_accuracy", True),
        ("test r2", True),
        ("test_mae", False),
        ("mean_squared_error", False),
        ("validation loss", False),
        ("bananas", None),
    ],
)
def test_whether_more_is_better_is_told_by_the_words(name, higher):
    assert direction(name) is higher


def test_what_was_measured_on_other_data_goes_first():
    assert chosen(numbers_in(f"{EPOCHS}test loss 0.7\n")) == Measure("test loss", higher=False)


def test_an_accuracy_goes_before_a_loss():
    assert chosen(numbers_in(EPOCHS)) == Measure("acc", higher=True)


def test_numbers_without_a_direction_are_no_measure():
    assert chosen(numbers_in("bananas 3")) is None


def test_a_metric_that_was_not_printed_is_refused_with_those_that_were():
    with pytest.raises(UsageError, match=r"--metric 'f1': the program printed no such number; it printed: acc, .*loss"):
        chosen(numbers_in(EPOCHS), "f1")


def test_a_metric_of_unknown_direction_wants_to_be_told():
    with pytest.raises(UsageError, match="say --higher or --lower"):
        chosen(numbers_in("bananas 3"), "bananas")
    assert chosen(numbers_in("bananas 3"), "Bananas", higher=True) == Measure("bananas", higher=True)


@pytest.mark.parametrize(
    ("control", "treated", "gain"),
    [
        (0.5, 0.7, 0.2),
        (0.7, 0.5, -0.2),
        (math.nan, 0.1, math.inf),
        (0.1, math.nan, -math.inf),
        (math.nan, math.nan, 0.0),
    ],
)
def test_a_gain_is_how_much_better_it_is(control, treated, gain):
    assert Measure("accuracy", higher=True).gain(control, treated) == pytest.approx(gain)
    assert Measure("loss", higher=False).gain(control, treated) == pytest.approx(gain if math.isinf(gain) else -gain)
