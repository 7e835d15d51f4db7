"""First causes in PyTorch: programs with a planted fault, each with its healthy twin."""

import pytest

pytest.register_assert_rewrite("tests.adapters.torch.origins.planting")
