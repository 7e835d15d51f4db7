"""Replay: a step whose loss or gradient is not finite is run again, to find out where that was born."""
