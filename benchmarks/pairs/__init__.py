"""Sequence-to-sequence benchmarks that are read: one YAML each, and how their pairs are found."""
