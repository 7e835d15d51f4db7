"""Remedies applied to workloads of torch: each does what it says, changes nothing that was given, and trains."""
