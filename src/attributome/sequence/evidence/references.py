"""What a pair is compared with: shuffles of its own sequences, mutants near it, real other pairs.

Everything is drawn for each pair by itself, from its own seed, so that a pair has the same
references whatever is beside it. Rows come in whole copies of the batch: copy j holds the j-th
reference of every pair, as the doors of `core.probe` take them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.draws import Seeds
from attributome.core.errors import UsageError
from attributome.core.seeds import rng, seed_of
from attributome.sequence.alphabet import UNKNOWN, Strands, strands, text_of
from attributome.sequence.images import Encoding
from attributome.sequence.shuffles import dinucleotide_shuffle
from attributome.sequence.tracks import BRANCHES, Branch

Pairs = dict[Branch, Strands]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Context:
    """What a method for pairs may need beside their images.

    `background` are real pairs to compare with; `seed` is one for every pair alike, or one each.
    """

    mirna: Strands
    site: Strands
    encoding: Encoding
    background: Pairs | None = None
    seed: Seeds = 0

    def __post_init__(self) -> None:
        if len(self.mirna) != len(self.site):
            raise UsageError(f"{len(self.mirna)} miRNAs and {len(self.site)} sites are no pairs")
        if not isinstance(self.seed, int) and len(self.seed) != len(self.site):
            raise UsageError(f"{len(self.seed)} seeds were given for {len(self.site)} pairs")
        for branch, found in (self.background or {}).items():
            if not len(found):
                raise UsageError(f"the background holds no sequence of branch {branch}")

    def strands(self, branch: Branch) -> Strands:
        """The sequences of one branch."""
        return self.site if branch == "site" else self.mirna

    def bins(self, branch: Branch) -> int:
        """The position channels of one branch."""
        return self.encoding.site_bins if branch == "site" else self.encoding.mirna_bins

    def seeds(self, *words: str | int) -> list[int]:
        """A seed of each pair for the draw that `words` name."""
        each = [self.seed] * len(self.site) if isinstance(self.seed, int) else self.seed
        return [seed_of(one, *words) for one in each]

    def encode(self, branch: Branch, batch: Strands, like: Tensor) -> Tensor:
        """Images of sequences of one branch, in the type and on the device of `like`."""
        make = self.encoding.site if branch == "site" else self.encoding.mirna
        return make(batch, like.device).to(like.dtype)


def shuffled(context: Context, count: int) -> Pairs:
    """`count` dinucleotide shuffles of both sequences of each pair (Altschul & Erickson 1985)."""
    found: Pairs = {}
    for branch in BRANCHES:
        each = [
            dinucleotide_shuffle(text, count=count, seed=seed)
            for text, seed in zip(
                text_of(context.strands(branch)), context.seeds("shuffle", branch), strict=True
            )
        ]
        found[branch] = strands([texts[copy] for copy in range(count) for texts in each])
    return found


def substituted(context: Context, count: int, share: float) -> Pairs:
    """`count` mutants of each pair; each letter is another one with probability `share`."""
    if not 0 < share <= 1:
        raise UsageError(
            f"a share of {share} letters cannot be substituted; it is above 0, up to 1"
        )
    found: Pairs = {}
    for branch in BRANCHES:
        batch = context.strands(branch)
        codes = np.tile(batch.codes, (count, 1, 1))
        for i, seed in enumerate(context.seeds("substitute", branch)):
            length, random = int(batch.lengths[i]), rng(seed)
            turns = random.integers(1, 4, (count, length), np.uint8)
            turns[random.random((count, length)) >= share] = 0
            own = codes[:, i, :length]
            codes[:, i, :length] = np.where(own < UNKNOWN, (own + turns) % 4, own)
        found[branch] = Strands(codes.reshape(-1, codes.shape[2]), np.tile(batch.lengths, count))
    return found


def real(context: Context, count: int) -> Pairs:
    """`count` pairs of the background for each pair; each serves equally often, up to one."""
    if context.background is None:
        raise UsageError("real reference pairs are asked for, and the context has no background")
    total = len(context.background["site"])
    orders = []
    for seed in context.seeds("background"):
        random = rng(seed)
        rounds = [random.permutation(total) for _ in range(-(-count // total))]
        orders.append(np.concatenate(rounds)[:count])
    rows = np.stack(orders, 1).ravel()
    return {
        branch: Strands(batch.codes[rows], batch.lengths[rows])
        for branch, batch in context.background.items()
    }


def places(context: Context, count: int) -> Float[Tensor, "count b"]:
    """Where between reference and pair each draw lies: one in each of `count` equal parts."""
    columns = []
    for seed in context.seeds("places"):
        random = rng(seed)
        columns.append((random.permutation(count) + random.random(count)) / max(1, count))
    return torch.from_numpy(np.stack(columns, 1))
