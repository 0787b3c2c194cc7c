"""The built-in benchmark: text from a probabilistic grammar whose true distribution is known."""
