"""Control: a Markov chain over tokens."""
