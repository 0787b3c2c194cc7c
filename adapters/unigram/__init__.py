"""Control: independent tokens."""
