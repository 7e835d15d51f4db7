"""Tests of the torch adapter, with real torch."""
