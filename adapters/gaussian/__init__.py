"""Family: Gaussian diffusion on embeddings. Noise as log-SNR, schedulers and bounds over one denoiser."""
