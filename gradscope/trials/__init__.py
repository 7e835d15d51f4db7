"""Trials: remedies tried on the user's own program, against the program as it is, from the same seeds."""
