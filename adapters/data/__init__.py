"""Control: real held-out text."""
