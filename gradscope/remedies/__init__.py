"""One remedy a file: what to change, why, and the line of code."""
