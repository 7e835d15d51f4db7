"""Remedies applied to workloads of Keras: each does what it says, changes nothing that was given, and trains."""
