"""The examples, run as programs and under `gradscope check`."""
