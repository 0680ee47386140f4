"""Slow, obvious versions of what propagates backwards: dense matrices, one sample, NumPy."""

import numpy as np
import torch


def dense(layer, shape):
    """A layer that is affine for one sample, as `W @ x + b`, and the shape of what it gives."""
    zero = torch.zeros(1, *shape, dtype=torch.double)
    with torch.no_grad():
        base = layer(zero)
        columns = [
            layer(unit.view_as(zero)) - base for unit in torch.eye(zero.numel(), dtype=torch.double)
        ]
    weight = torch.stack([column.flatten() for column in columns], 1)
    return weight.numpy(), base.flatten().numpy(), base.shape[1:]


def rescale(layers, x, x0):
    """DeepLIFT contributions; `layers` are (W, b) or a function of one number."""
    here, there, steps = [x], [x0], []
    for layer in layers:
        run = layer if callable(layer) else lambda v, wb=layer: wb[0] @ v + wb[1]
        here.append(run(here[-1]))
        there.append(run(there[-1]))
        steps.append(layer)
    m = np.ones(1)
    for layer, u, u0 in reversed(list(zip(steps, here, there, strict=False))):
        if not callable(layer):
            m = m @ layer[0]
            continue
        for i in range(len(u)):
            change = u[i] - u0[i]
            h = 1e-6
            m[i] *= (
                (layer(u[i]) - layer(u0[i])) / change
                if abs(change) > 1e-6
                else (layer(u[i] + h) - layer(u[i] - h)) / (2 * h)
            )
    return m * (x - x0)


def relevance(layers, x, rules):
    """LRP as in its papers, relevance by relevance; `rules` holds (epsilon, gamma) per (W, b)."""
    seen = [x]
    for layer in layers:
        seen.append(np.maximum(seen[-1], 0) if layer is None else layer[0] @ seen[-1] + layer[1])
    r = seen[-1].copy()
    for layer, rule, u, z in reversed(list(zip(layers, rules, seen[:-1], seen[1:], strict=True))):
        if layer is None:
            continue
        epsilon, gamma, groups = rule
        (weight, bias), below = layer, np.zeros(len(u))
        if groups:  # epsilon counts in mean magnitudes over the channels of a position
            size = np.abs(z).reshape(groups, -1).mean(0)
            stabiliser = epsilon * np.tile(size, groups)
        for j in range(len(z)):
            parts = weight[j] * u
            if gamma is None:
                total = z[j] + (stabiliser[j] if z[j] >= 0 else -stabiliser[j])
            else:
                agrees = np.sign(parts) == np.sign(z[j])
                parts = np.where(agrees, (1 + gamma) * parts, parts)
                own = (1 + gamma) if np.sign(bias[j]) == np.sign(z[j]) else 1
                total = parts.sum() + own * bias[j]
            if total != 0:
                below += parts / total * r[j]
        r = below
    return r
