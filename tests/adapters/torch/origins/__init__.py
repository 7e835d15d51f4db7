"""First causes in PyTorch: programs with a planted fault, each with its healthy twin."""
