"""``make perf``: what the harness costs, and what each engine takes for the same work."""
