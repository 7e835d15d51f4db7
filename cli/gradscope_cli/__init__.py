"""The command `gradscope`."""
