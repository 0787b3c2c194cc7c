"""Control: the source copied."""
