"""The built-in sequence-to-sequence benchmark: sentences of a small language and their true paraphrases."""
