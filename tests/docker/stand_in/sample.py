"""A sampler of our own: each step keeps what is written and writes some of the rest."""

import fire  # noqa: F401 (a command line's; the adapter brings a stand-in)
import tiktoken
import torch
import torch.distributions as D

encoding = tiktoken.get_encoding("gpt2")


@torch.no_grad()
def sample_d3pm_absorbing(model, count, length, visualize=True):
    mask = model.K - 1
    states = [torch.full((count, length), mask)]
    for step in range(model.T, 0, -1):
        now = states[-1]
        probs = model.net(now, torch.full((count,), float(step))).softmax(-1)
        # The mask stays as likely as the steps that are left say; the last step writes everything.
        stays = torch.eye(model.K)[mask] * (1 - 1 / step)
        drawn = D.Categorical(probs=probs * (1 / step) + stays).sample()
        states.append(torch.where(now == mask, drawn, now))
    return torch.stack(states)
