"""Tell what a deep network on cells uses, how sure we can be, and whether it is biology."""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "DataError": "core.errors",
    "Explanation": "core.records",
    "Logit": "core.targets",
    "Output": "core.targets",
    "OutputSum": "core.targets",
    "RegionMean": "core.targets",
    "Run": "store",
    "Sample": "core.records",
    "UsageError": "core.errors",
    "choose": "core.compute",
    "efficacy": "metrics.faithfulness",
    "fill_for": "core.fills",
    "fit_masks": "masks.fit",
    "fitted": "predictors.sizes",
    "inspect_predictor": "predictors.inspect",
    "load_predictor": "predictors.load",
    "mask_explainer": "masks.fit",
    "method": "explain",
    "open_images": "data.manifest",
    "planted": "data.planted",
    "predict": "core.probe",
    "signature": "masks.signature",
    "top_share": "core.arrays",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: reading a run must not import torch."""
    if name not in _HOME:
        raise AttributeError(f"attributome has no {name!r}; it has {__all__}")
    return getattr(import_module(f"attributome.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
