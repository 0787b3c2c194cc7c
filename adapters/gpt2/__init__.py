"""GPT-2: the autoregressive baseline, and the judge of generative perplexity."""
