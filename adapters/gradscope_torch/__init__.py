"""gradscope for PyTorch."""
