"""Agreement: the same numbers and the same verdicts from every framework."""
