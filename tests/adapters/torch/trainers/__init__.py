"""Tests with the real trainers: Lightning, transformers, accelerate; and with the real loggers."""
