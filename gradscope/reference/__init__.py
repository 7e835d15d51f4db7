"""The reference: networks, losses and optimizers in numpy, with backward passes written by hand. Every adapter is held
to the numbers that come out of it."""
