"""The field's corpora as benchmarks: one YAML each, and the code that reads them all."""
