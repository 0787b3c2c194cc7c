"""RADD: reparameterized absorbing discrete diffusion (arXiv 2406.03736)."""
