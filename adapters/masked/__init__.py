"""Family: absorbing-state (masked) discrete diffusion.

Every scheduler and every bound is written once, over a `Denoiser`. A model folder brings its network, its checkpoint
layout, its tokenizer and its defaults.
"""
