"""Tests of bundles: failing steps that are saved, read and run again."""
