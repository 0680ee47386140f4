"""A network for pairs as a function of one of its branches; the other runs once where it can.

A network can be cut between its branches and its head where it has the methods
`site_features(images)`, `mirna_features(images)` and `head(site_features, mirna_features)`, each
feature a tensor with a row per pair. Any other is asked whole.
"""

from jaxtyping import Float
from torch import Tensor, empty, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.probe import predict
from attributome.core.types import Predictor
from attributome.sequence.alphabet import Strands
from attributome.sequence.images import Encoding
from attributome.sequence.tracks import BRANCHES, Branch

PARTS = ("site_features", "mirna_features", "head")
"""Methods of a network that can be cut."""


def images_of(net: nn.Module, mirna: Strands, site: Strands) -> dict[Branch, Tensor]:
    """The images of a batch of pairs as the network takes them, in its type and on its device."""
    if len(mirna) != len(site):
        raise UsageError(f"{len(mirna)} miRNAs and {len(site)} sites are no pairs")
    return {
        "site": encoded(net, "site", site),
        "mirna": encoded(net, "mirna", mirna),
    }


def encoded(net: nn.Module, branch: Branch, batch: Strands) -> Tensor:
    """Images of one branch's sequences, in the network's type and on its device."""
    encoding = getattr(net, "encoding", None)
    if not isinstance(encoding, Encoding):
        raise UsageError(
            f"a {type(net).__name__} does not say what images it takes: a network for pairs has "
            f"an `encoding`"
        )
    like = next((p for p in net.parameters() if p.is_floating_point()), empty(0))
    make = encoding.site if branch == "site" else encoding.mirna
    return make(batch, like.device).to(like.dtype)


def beside(
    net: nn.Module, branch: Branch, site: Tensor, mirna: Tensor, *, near: bool = False
) -> Predictor:
    """The network as a function of one branch's images, the other's kept, as features if it can.

    Row r of what it is called with meets row r % b of the other branch, as in `core.inputs`. With
    `near` it is only asked about images, and gradients at pixels, that have words where these have.
    """
    other = mirna if branch == "site" else site
    if not can_be_cut(net):
        return Beside(net, BRANCHES.index(branch), (other,))
    kept = features(net, "mirna" if branch == "site" else "site", other)
    where = getattr(net, "near", None) if near else None
    places = where(site if branch == "site" else mirna) if callable(where) else None
    return Beside(_FromFeatures(net, branch, places), 0, (kept,))


def features(net: nn.Module, branch: Branch, images: Tensor) -> Float[Tensor, "b ..."]:
    """What a branch hands to the head, without a graph."""
    if not can_be_cut(net):
        raise UsageError(f"a {type(net).__name__} has no features between its branches and a head")
    return predict(_Features(net, branch), images)


def can_be_cut(net: nn.Module) -> bool:
    """Whether the features of a branch can be kept while the other branch changes."""
    return all(callable(getattr(net, part, None)) for part in PARTS)


class _Features(nn.Module):
    """One branch of a network: a module, so that the doors freeze what lies in it."""

    def __init__(self, net: nn.Module, branch: Branch) -> None:
        super().__init__()
        self.net, self.branch = net, branch

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = getattr(self.net, f"{self.branch}_features")(images)
        return made


class _FromFeatures(nn.Module):
    """The network from one branch's images and the other's features."""

    def __init__(self, net: nn.Module, branch: Branch, near: Tensor | None) -> None:
        super().__init__()
        self.net, self.branch, self.near = net, branch, near

    def forward(self, images: Tensor, kept: Tensor) -> Tensor:
        features = getattr(self.net, f"{self.branch}_features")
        made = features(images) if self.near is None else features(images, self.near)
        out: Tensor = getattr(self.net, PARTS[2])(
            *((made, kept) if self.branch == "site" else (kept, made))
        )
        return out
