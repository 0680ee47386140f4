"""Networks around a network that is trained: one with its mean beside it, one with its maps."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from attributome.core.types import Images
from attributome.predictors.cells import CellNetwork


class WithMean(nn.Module):
    """A network and the running mean of its weights, so that both are saved and resumed as one."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        self.net = net
        average = get_ema_multi_avg_fn(decay)
        self.mean = AveragedModel(net, multi_avg_fn=average, use_buffers=True)
        self.mean.requires_grad_(False)


class WithMaps(nn.Module):
    """A network that also gives the maps that its classes come from.

    Processes that train together see what is computed in one call, so both come from one.
    """

    def __init__(self, net: CellNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> tuple[Tensor, Tensor]:
        maps = self.net.maps(x)
        return maps, self.net.logits(maps)
