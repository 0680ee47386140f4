"""Our network for pairs: every way to lay a miRNA along a site is read like a short duplex.

The images come with position channels (`Encoding` with bins), so the network knows which letters
stand where. For each register (a shift of the antiparallel strands against each other) it holds
the two letters that face each other at every nucleotide of the miRNA: a learned affinity of
letters (Watson-Crick, G:U and what the data add), and the reverse-complement product of the
images, which is 1 where a whole word pairs. A small network reads each register from the 5' end
of the miRNA on, registers are weighed against each other softly, and no step looks at the batch.

Everything is smooth (GELU, group normalisation, soft weights), so gradients say what mutations do.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.sequence.fcgr import kmers, reverse_complement_pixels
from attributome.sequence.images import Encoding, Image

READERS = 4
"""How many soft choices of registers the head sees."""


class PairNet(nn.Module):
    """Interaction logits `(b, 2)` of sites and miRNAs, class 1 = they interact.

    `site_bins` and `mirna_bins` are the position channels: one for each window of the longest
    sequence, 46 for sites of 50 letters with k = 5. `positions=False` takes plain images (one
    channel) and sees only which words pair, not where. `dropout` is that of the head and of the
    duplex features.
    """

    def __init__(
        self,
        k: int = 5,
        *,
        site_bins: int = 46,
        mirna_bins: int = 22,
        positions: bool = True,
        width: int = 24,
        hidden: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.kwargs = {
            "k": k,
            "site_bins": site_bins,
            "mirna_bins": mirna_bins,
            "positions": positions,
            "width": width,
            "hidden": hidden,
            "dropout": dropout,
        }
        if min(width, hidden) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                f"width {width}, hidden {hidden}, dropout {dropout}: the first two are at least 1, "
                f"dropout lies in [0, 1)"
            )
        if positions:
            self.encoding = Encoding(k=k, site_bins=site_bins, mirna_bins=mirna_bins)
            self.duplex: nn.Module = Registers(self.encoding, width, hidden, dropout)
        else:
            self.encoding = Encoding(k=k)
            self.duplex = Products(k, hidden, dropout)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(READERS * hidden, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 2),
        )

    def forward(self, site: Image, mirna: Float[Tensor, "b mbins n n"]) -> Float[Tensor, "b 2"]:
        """Logits; the site comes first, as in the upstream network."""
        wanted = (self.encoding.site_bins, self.encoding.mirna_bins)
        if (site.shape[1], mirna.shape[1]) != wanted or site.shape[-1] != 1 << self.encoding.k:
            raise UsageError(
                f"images of {tuple(site.shape[1:])} (site) and {tuple(mirna.shape[1:])} (miRNA) "
                f"came to a network for {self.encoding}"
            )
        logits: Tensor = self.head(self.duplex(site, mirna))
        return logits


class Registers(nn.Module):
    """Features of a pair by register: each shift of the strands, read along the miRNA."""

    spelled: Tensor
    turned: Tensor

    AFFINITIES = 8
    FLANK = 16
    LEAST = 5
    """The shortest overlap of the strands that counts as a register."""

    def __init__(self, encoding: Encoding, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        k = self.k = encoding.k
        letters = encoding.mirna_bins + k - 1
        self.beyond = max(letters - min(self.LEAST, encoding.site_bins + k - 1), 0)
        turned = torch.from_numpy(reverse_complement_pixels(k).copy())
        self.register_buffer("spelled", _spelled(k), persistent=False)
        self.register_buffer("turned", turned, persistent=False)
        self.affinity = nn.Linear(4, 4 * self.AFFINITIES, bias=False)
        with torch.no_grad():
            self.affinity.weight.mul_(0.2).view(self.AFFINITIES, 4, 4)[:3] = _pairings()
        channels = self.AFFINITIES + 1
        self.place = nn.Parameter(torch.zeros(channels, letters, 1))
        self.stack = nn.Conv2d(channels, width, (5, 1), padding=(2, 0))
        self.stack_norm = nn.GroupNorm(1, width)
        self.along = nn.Conv1d(width * letters, hidden, 1)
        with torch.no_grad():  # to begin with half of it counts alike along the miRNA
            alike = torch.randn(hidden, width, 1) / (width * letters) ** 0.5
            self.along.weight.view(hidden, width, letters).add_(alike).mul_(0.5)
        self.flank = nn.Conv1d(4, self.FLANK, 9, padding=4)
        self.context = nn.Conv1d(self.FLANK, hidden, 9, padding=4)
        self.norm = nn.GroupNorm(1, hidden)
        self.beside = nn.Conv1d(hidden, hidden, 5, padding=2)
        self.beside_norm = nn.GroupNorm(1, hidden)
        self.weigh = nn.Conv1d(hidden, READERS, 1)
        self.dropout = nn.Dropout(dropout)
        self.dropout_whole = nn.Dropout1d(dropout)

    def forward(self, site: Image, mirna: Float[Tensor, "b mbins n n"]) -> Float[Tensor, "b f"]:
        site, mirna = site.flatten(2) * site.shape[1], mirna.flatten(2) * mirna.shape[1]
        strand = F.pad(self._letters(site).flip(-1), (self.beyond, self.beyond))
        facing = self._facing(self._letters(mirna), strand)
        duplex = _sheared(torch.cat([facing, self._words(site, mirna)], 1)) + self.place
        stacked = F.gelu(self.stack_norm(self.stack(duplex)))
        register = self.along(self.dropout_whole(stacked.flatten(1, 2)))
        context = self.context(F.gelu(self.flank(strand)))[..., : register.shape[-1]]
        features = self.dropout(F.gelu(self.norm(register + context)))
        features = features + F.gelu(self.beside_norm(self.beside(features)))
        weights = self.weigh(features).softmax(-1)
        return torch.einsum("brd,bhd->brh", weights, features).flatten(1)

    def _letters(self, image: Float[Tensor, "b bins pixels"]) -> Float[Tensor, "b 4 letters"]:
        """What stands at each position, from the windows that cover it (the last few: less)."""
        bins = image.shape[1]
        spelled = (image @ self.spelled).unflatten(2, (self.k, 4))
        shifted = [F.pad(spelled[:, :, i], (0, 0, i, self.k - 1 - i)) for i in range(self.k)]
        covered = torch.arange(1, bins + self.k, device=image.device).clamp(max=self.k)
        return (torch.stack(shifted).sum(0) / covered[:, None]).transpose(1, 2)

    def _facing(
        self, mirna: Float[Tensor, "b 4 letters"], strand: Float[Tensor, "b 4 turned"]
    ) -> Float[Tensor, "b affinities letters turned"]:
        """The affinity of each nucleotide of the miRNA for each letter of the turned site."""
        liking = self.affinity(mirna.transpose(1, 2)).unflatten(2, (self.AFFINITIES, 4))
        return torch.einsum("bmcx,bxs->bcms", liking, strand)

    def _words(
        self, site: Float[Tensor, "b bins pixels"], mirna: Float[Tensor, "b mbins pixels"]
    ) -> Float[Tensor, "b 1 letters turned"]:
        """Where the word around a nucleotide is the reverse complement of what it faces."""
        product = mirna.index_select(2, self.turned) @ site.transpose(1, 2)
        middle = self.k // 2
        placed = F.pad(product, (self.k - 1 - middle, middle, middle, self.k - 1 - middle))
        return F.pad(placed.flip(-1), (self.beyond, self.beyond))[:, None]


class Products(nn.Module):
    """Features of a pair of plain images: which words of 1 to k letters pair, and how often.

    Summing pixels of a 2 x 2 block drops the first letter of a word, so one image holds the
    shorter words too.
    """

    def __init__(self, k: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.k = k
        for length in range(1, k + 1):
            turned = torch.from_numpy(reverse_complement_pixels(length).copy())
            self.register_buffer(f"turned{length}", turned, persistent=False)
        words = sum(4**length for length in range(1, k + 1))
        self.paired = nn.Linear(words, READERS * hidden)
        self.alone = nn.Linear(2 * words, READERS * hidden)
        self.norm = nn.GroupNorm(READERS, READERS * hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, site: Float[Tensor, "b 1 n n"], mirna: Float[Tensor, "b 1 n n"]
    ) -> Float[Tensor, "b f"]:
        paired, alone = [], []
        for length in range(1, self.k + 1):
            block = 1 << (self.k - length)
            # of the order of 1 per word, as chance would have each
            ours, theirs = (
                2**length * F.avg_pool2d(image, block, divisor_override=1).flatten(1)
                for image in (site, mirna)
            )
            paired.append(ours * theirs[:, self.get_buffer(f"turned{length}")])
            alone += [ours, theirs]
        features = self.paired(torch.cat(paired, 1)) + self.alone(self.dropout(torch.cat(alone, 1)))
        made: Tensor = F.gelu(self.norm(features))
        return made


def _sheared(
    matrix: Float[Tensor, "b c letters turned"],
) -> Float[Tensor, "b c letters registers"]:
    """Row m shifted m places to the left, so that a column is a register."""
    letters, turned = matrix.shape[2:]
    rows: Tensor = F.pad(matrix.flatten(2), (0, letters)).unflatten(2, (letters, turned + 1))
    return rows[..., : turned - letters + 1]


def _spelled(k: int) -> Float[Tensor, "pixels spelled"]:
    """For each flat pixel its word, letter by letter as one of four."""
    codes = torch.tensor([["ACGT".index(letter) for letter in word] for word in kmers(k)])
    return F.one_hot(codes, 4).flatten(1).float()


def _pairings() -> Float[Tensor, "3 4 4"]:
    """To begin with: any pair that holds, Watson-Crick alone, and G:U alone."""
    watson_crick, wobble = torch.zeros(4, 4), torch.zeros(4, 4)
    for one, other in ((0, 3), (1, 2)):
        watson_crick[one, other] = watson_crick[other, one] = 1
    wobble[2, 3] = wobble[3, 2] = 1
    holds = 2 * watson_crick + wobble - 1
    return torch.stack([holds, watson_crick, wobble])
