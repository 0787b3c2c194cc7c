"""Control: real held-out text with its tokens in random order."""
