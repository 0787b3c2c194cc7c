"""DiffuSeq (arXiv 2210.08933): sequence-to-sequence diffusion on word embeddings with partial noising."""
