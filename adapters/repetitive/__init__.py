"""Control: samplers without parameters that fool generative perplexity."""
