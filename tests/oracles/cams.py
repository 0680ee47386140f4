"""Class activation maps and the bottleneck once more, slowly: one sample, one channel at a time.

`act` and `grad` are `(f, *t)` of one sample, `f` takes one image or one activation and gives one
number; all in float64. Maps are on the layer's grid.
"""

from itertools import product

import numpy as np


def grad_cam(act, grad):
    return sum(grad[k].mean() * act[k] for k in range(len(act)))


def hires_cam(act, grad):
    return sum(grad[k] * act[k] for k in range(len(act)))


def layer_cam(act, grad):
    return sum(np.maximum(grad[k], 0) * act[k] for k in range(len(act)))


def grad_cam_plus_plus(act, grad):
    """The published formula, powers and all."""
    cam = np.zeros(act.shape[1:])
    for a, g in zip(act, grad, strict=True):
        weight = 0.0
        for at in np.ndindex(a.shape):
            below = 2 * g[at] ** 2 + a.sum() * g[at] ** 3
            alpha = g[at] ** 2 / below if below != 0 else 0.0
            weight += alpha * max(g[at], 0.0)
        cam += weight * a
    return cam


def xgrad_cam(act, grad):
    cam = np.zeros(act.shape[1:])
    for a, g in zip(act, grad, strict=True):
        if a.any():
            cam += sum(g[at] * a[at] / a.sum() for at in np.ndindex(a.shape)) * a
    return cam


def eigen_cam(act, grad):
    rows = act.reshape(len(act), -1)
    rows = rows - rows.mean(1, keepdims=True)
    _, strengths, voxels = np.linalg.svd(rows, full_matrices=False)
    cam = strengths[0] * voxels[0]
    return (np.sign(cam @ rows.mean(0)) * cam).reshape(act.shape[1:])


def eigen_grad_cam(act, grad):
    return eigen_cam(act * grad, grad)


def score_cam(f, x, act, baseline):
    cam = np.zeros(act.shape[1:])
    for a in act:
        mask = enlarged(a, x.shape[1:])
        width = mask.max() - mask.min()
        if width > 1e-12:
            mask = (mask - mask.min()) / width
            shown = np.stack([mask * channel + (1 - mask) * baseline for channel in x])
            cam += (f(shown) - f(np.full_like(x, baseline))) * a
    return cam


def ablation_cam(f, act):
    cam = np.zeros(act.shape[1:])
    for k in range(len(act)):
        without = act.copy()
        without[k] = 0
        cam += (f(act) - f(without)) * act[k]
    return cam


def enlarged(cam, size):
    """Linear interpolation with half-pixel centres, voxel by voxel."""
    out = np.zeros(size)
    for voxel in np.ndindex(*size):
        near = []
        for place, large, small in zip(voxel, size, cam.shape, strict=True):
            at = max((place + 0.5) * small / large - 0.5, 0.0)
            low = min(int(at), small - 1)
            near.append([(low, 1 - (at - low)), (min(low + 1, small - 1), at - low)])
        for corner in product(*near):
            out[voxel] += np.prod([w for _, w in corner]) * cam[tuple(i for i, _ in corner)]
    return out


def bottleneck_bits(act, slope, noise, beta, mean, spread, blur):
    """Bits for the target `sum(slope * z)`, with Adam written out, for a step size of 1.

    `noise` holds standard normal numbers, `(steps, draws, f, *t)`; `blur` is a matrix `(t, t)`.
    """
    alpha, m, v = np.full(act.shape, 5.0), np.zeros(act.shape), np.zeros(act.shape)
    standard = (act - mean) / spread

    def blurred(values, matrix):
        return (values.reshape(len(values), -1) @ matrix.T).reshape(values.shape)

    def kept():
        return blurred(1 / (1 + np.exp(-alpha)), blur)

    for step, drawn in enumerate(noise, 1):
        lam = kept()
        of_target = np.mean([slope * (act - (mean + spread * one)) for one in drawn], 0)
        of_nats = 1 / (1 - lam) - (1 - lam) + lam * standard**2
        g = blurred(beta * of_nats / act.size - of_target, blur.T)
        g = g / (1 + np.exp(-alpha)) / (1 + np.exp(alpha))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        alpha = alpha - (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    lam = kept()
    nats = np.log(1 / (1 - lam)) + ((1 - lam) ** 2 + (lam * standard) ** 2) / 2 - 0.5
    return nats.sum(0) / np.log(2)
