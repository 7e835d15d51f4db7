"""One file per rule: `sick(...)` is its specimen, and the tables hold the edges of its thresholds."""
