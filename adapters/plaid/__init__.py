"""Plaid: Gaussian diffusion on learned token embeddings, trained by likelihood (igul222/plaid, arXiv 2305.18619)."""
