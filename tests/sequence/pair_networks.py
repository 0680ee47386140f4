"""Tiny networks for pairs, and pairs for them."""

import numpy as np
import torch
from torch import nn

from attributome.core.targets import Difference
from attributome.sequence.alphabet import Strands, reverse_complement, strands
from attributome.sequence.fcgr import reverse_complement_pixels
from attributome.sequence.images import Encoding

TARGET = Difference(1, 0)


def letters(count, length, seed=0):
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list("ACGT"), length)) for _ in range(count)]


def pairs(count=3, *, mirna=12, site=19, seed=0) -> tuple[Strands, Strands]:
    """miRNAs and sites of unequal lengths; a repeat and an N are among them."""
    mirnas, sites = letters(count, mirna, seed), letters(count, site, seed + 1)
    sites[0] = sites[0][:-3]
    if count > 1:
        sites[1] = "ACACACACAC" + sites[1][10:]
        mirnas[1] = mirnas[1][:-2]
    if count > 2:
        sites[2] = sites[2][:7] + "N" + sites[2][8:]
    return strands(mirnas), strands(sites)


def row(batch: Strands, i: int) -> Strands:
    """One sequence without the padding that its batch gave it."""
    length = int(batch.lengths[i])
    return Strands(batch.codes[i : i + 1, :length], batch.lengths[i : i + 1])


class Linear(nn.Module):
    """A weight per pixel of both images."""

    def __init__(self, k=3, site_bins=1, mirna_bins=1, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoding = Encoding(k=k, site_bins=site_bins, mirna_bins=mirna_bins)
        self.site = nn.Linear(site_bins * 4**k, 2)
        self.mirna = nn.Linear(mirna_bins * 4**k, 2)
        self.double()

    def forward(self, site, mirna):
        return self.site(site.flatten(1)) + self.mirna(mirna.flatten(1))

    def slopes(self, branch):
        """The gradient of the target, as an image."""
        weight = getattr(self, branch).weight.detach()
        bins = self.encoding.site_bins if branch == "site" else self.encoding.mirna_bins
        side = 1 << self.encoding.k
        return (weight[1] - weight[0]).view(1, bins, side, side)


class Branched(nn.Module):
    """Two convolutional branches of other widths, with a frozen batch norm, and a joint head."""

    def __init__(self, k=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoding = Encoding(k=k)
        self.first = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.second = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        size = (1 << k) // 2
        self.joint = nn.Sequential(nn.Linear(7 * size**2, 16), nn.Dropout(0.5), nn.Tanh())
        self.last = nn.Linear(16, 2)
        self.double().train()
        self.last.eval()

    def forward(self, site, mirna):
        joint = torch.cat([self.first(8 * site).flatten(1), self.second(8 * mirna).flatten(1)], 1)
        return self.last(self.joint(joint))


class Cut(Branched):
    """The same network, which shows where its branches end; it counts the rows of each branch."""

    def __init__(self, k=3, seed=0):
        super().__init__(k, seed)
        self.rows = {"site": 0, "mirna": 0}

    def site_features(self, images):
        self.rows["site"] += len(images)
        return self.first(8 * images).flatten(1)

    def mirna_features(self, images):
        self.rows["mirna"] += len(images)
        return self.second(8 * images).flatten(1)

    def head(self, site, mirna):
        return self.last(self.joint(torch.cat([site, mirna], 1)))

    def forward(self, site, mirna):
        return self.head(self.site_features(site), self.mirna_features(mirna))


class Pairing(nn.Module):
    """The sum over k-mers of miRNA times reverse complement in the site, which it scales."""

    def __init__(self, k=3, scale=20.0):
        super().__init__()
        self.encoding = Encoding(k=k)
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.double))
        self.register_buffer("partner", torch.from_numpy(reverse_complement_pixels(k).copy()))

    def forward(self, site, mirna):
        found = (mirna.flatten(1) * site.flatten(1)[:, self.partner]).sum(1) * self.scale
        return torch.stack([torch.zeros_like(found), found], 1)


def paired(count=4, *, word=6, seed=0):
    """Pairs whose site holds the reverse complement of nt 2 to 1 + word of the miRNA."""
    mirnas, sites = letters(count, 14, seed), letters(count, 24, seed + 1)
    starts = [3 + 2 * i % 14 for i in range(count)]
    sites = [
        site[:start] + reverse_complement(mirna[1 : 1 + word]) + site[start + word :]
        for mirna, site, start in zip(mirnas, sites, starts, strict=True)
    ]
    return strands(mirnas), strands(sites), starts
