"""Two runs set against each other: what changed, what is inside the noise, and a code for a gate."""
