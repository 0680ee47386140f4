"""The metrics once more, slowly: loops over pixels in float64, one sample at a time."""

from itertools import combinations, pairwise, product

import numpy as np


def ranks(values):
    """From 0, ties at the mean of their places."""
    values = np.ravel(values)
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


def correlation(a, b):
    a, b = np.ravel(a) - np.mean(a), np.ravel(b) - np.mean(b)
    return (a @ b) / np.sqrt((a @ a) * (b @ b))


def spearman(a, b):
    return correlation(ranks(a), ranks(b))


def order(values):
    """Flat indices from the largest value on; of equal ones the first comes first."""
    values = np.ravel(values)
    return sorted(range(values.size), key=lambda i: (-values[i], i))


def flipped(x, fill, values, indices):
    """The image with these features of a map replaced; a map of one channel counts pixels."""
    gone = np.zeros(values.size, dtype=bool)
    gone[indices] = True
    return np.where(gone.reshape(values.shape), fill, x)


def flipping(f, x, values, fill, steps, lerf=False):
    way = order(values)[::-1] if lerf else order(values)
    counts = [round(k * values.size / steps) for k in range(steps + 1)]
    return np.array([f(flipped(x, fill, values, way[:k])) for k in counts])


def height(curve, whole, blank):
    inner = [(v - blank) / (whole - blank) for v in curve[1:-1]]
    return sum(inner) / len(inner)


def trapezoid(curve, whole, blank):
    scaled = (np.asarray(curve) - blank) / (whole - blank)
    return sum((a + b) / 2 for a, b in pairwise(scaled)) / (len(curve) - 1)


def impute(channel, gone):
    """One channel whose missing pixels are the weighted means of all their neighbours."""
    places = [tuple(p) for p in np.argwhere(gone)]
    row = {place: i for i, place in enumerate(places)}
    system, right = np.zeros((len(places), len(places))), np.zeros(len(places))
    for place, i in row.items():
        for step in product((-1, 0, 1), repeat=channel.ndim):
            other = tuple(p + s for p, s in zip(place, step, strict=True))
            inside = all(0 <= o < n for o, n in zip(other, channel.shape, strict=True))
            if not any(step) or not inside:
                continue
            weight = 0.5 ** np.count_nonzero(step)
            system[i, i] += weight
            if other in row:
                system[i, row[other]] -= weight
            else:
                right[i] += weight * channel[other]
    out = channel.copy()
    for place, value in zip(places, np.linalg.solve(system, right), strict=True):
        out[place] = value
    return out


def infidelity(f, x, values, taken):
    told = np.array([(one * values).sum() for one in taken])
    seen = np.array([f(x) - f(x - one) for one in taken])
    scale = (told * seen).mean() / (told**2).mean()
    return ((told - seen) ** 2).mean(), ((scale * told - seen) ** 2).mean(), scale


def sensitivity_n(f, x, values, fill, sets):
    told = [values.ravel()[one].sum() for one in sets]
    seen = [f(x) - f(flipped(x, fill, values, one)) for one in sets]
    return correlation(told, seen)


def pointing(values, region, tolerance, pixel_size):
    largest = np.argwhere(values == values.max())
    near = [
        any(
            sum(((p - q) * s) ** 2 for p, q, s in zip(place, inside, pixel_size, strict=True))
            <= tolerance**2 * (1 + 1e-12)
            for inside in np.argwhere(region)
        )
        for place in largest
    ]
    return sum(near) / len(near)


def relevance_rank(values, region):
    """The expected share of the region over all ways to break ties."""
    k, values, region = int(region.sum()), values.ravel(), region.ravel()
    last = np.sort(values)[::-1][k - 1]
    sure, tied = np.flatnonzero(values > last), np.flatnonzero(values == last)
    tops = [[*sure, *some] for some in combinations(tied, k - len(sure))]
    return np.mean([region[top].sum() / k for top in tops])


def average_precision(values, region):
    values, region, area, last = values.ravel(), region.ravel(), 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        chosen = values >= threshold
        recall = region[chosen].sum() / region.sum()
        area += (recall - last) * region[chosen].mean()
        last = recall
    return area


def gini(values):
    size = np.abs(np.ravel(values))
    gaps = sum(abs(a - b) for a in size for b in size)
    return gaps / (2 * len(size) ** 2 * size.mean()) * len(size) / (len(size) - 1)


def entropy(values):
    shares = np.abs(np.ravel(values)) / np.abs(values).sum()
    return -sum(p * np.log(p) for p in shares if p > 0)


def histogram_entropy(values, bins):
    counts, _ = np.histogram(values, bins=bins)
    return -sum(p * np.log(p) for p in counts / counts.sum() if p > 0)


def top(values, share):
    count = max(1, round(share * values.size))
    return [i for i in order(np.abs(values))[:count] if np.ravel(values)[i] != 0]


def agreement(a, b, share, signs=False, places=False):
    ours, theirs = top(a, share), top(b, share)
    both = [i for i in ours if i in theirs]
    if signs:
        both = [i for i in both if np.sign(a.ravel()[i]) == np.sign(b.ravel()[i])]
    if places:
        both = [i for i in both if ours.index(i) == theirs.index(i)]
    return len(both) / max(len(ours), len(theirs))


def pairs_alike(a, b):
    a, b = a.ravel(), b.ravel()
    pairs = list(combinations(range(a.size), 2))
    same = [np.sign(a[i] - a[j]) == np.sign(b[i] - b[j]) for i, j in pairs]
    return sum(same) / len(pairs)
