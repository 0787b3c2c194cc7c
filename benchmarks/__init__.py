"""Benchmarks: one folder each, with one YAML and the code that makes its data."""
