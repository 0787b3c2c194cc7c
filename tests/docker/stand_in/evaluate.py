"""Two terms of a bound, each the mean over a batch."""

import torch


@torch.no_grad()
def estimate_kl(model, tokens):
    kl, _ = model.terms(tokens, torch.randint(1, model.T, (len(tokens),)))
    return kl.mean().item()


@torch.no_grad()
def estimate_recon(model, tokens):
    _, ce = model.terms(tokens, torch.zeros(len(tokens), dtype=torch.long))
    return ce.mean().item()
