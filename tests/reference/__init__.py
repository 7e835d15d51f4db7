"""Tests of gradscope.reference: the trainer in numpy."""
