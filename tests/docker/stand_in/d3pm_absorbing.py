"""Absorbing-state diffusion of our own over `dit.Network`, with the names that the adapter of nanoDD looks for."""

import torch
import torch.nn.functional as F
from dit import Network
from torch import nn


class D3PMAbsorbing(nn.Module):
    """Diffusion with T transitions over `vocab_size` tokens; the last class is the mask."""

    def __init__(self, vocab_size, T, hidden):  # noqa: N803 (the name that checkpoints have)
        super().__init__()
        self.K = vocab_size + 1
        self.T = T
        self.net = Network(self.K, hidden)

    def terms(self, tokens, t):
        """KL of the step from t + 1 to t, and the cross-entropy of the tokens, each [B, L], at times t [B]."""
        kept = 1 - (t + 1) / self.T
        noisy = torch.where(torch.rand(tokens.shape) < kept[:, None], tokens, self.K - 1)
        logits = self.net(noisy, (t + 1).float())
        ce = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view_as(tokens)
        revealed = (noisy == self.K - 1) / (t + 1)[:, None]
        return F.relu(revealed * ce), ce
