"""OME-Zarr images, written without our own code."""

import numpy as np
import zarr


def ome_zarr(path, array, axes, *, version="0.5", ome=None, **create):
    """An OME-Zarr image of one level; `axes` are (name, unit) pairs."""
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    if isinstance(array, np.ndarray):
        group.create_array("0", data=array)
    else:
        group.create_array("0", shape=array, dtype=create.pop("dtype"), **create)
    kinds = {"c": "channel", "t": "time"}
    said = {
        "multiscales": [
            {
                "axes": [
                    {"name": n, "type": kinds.get(n, "space"), **({"unit": u} if u else {})}
                    for n, u in axes
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [0.5 + i for i in range(len(axes))]}
                        ],
                    }
                ],
            }
        ],
        **(ome or {}),
    }
    group.attrs.update({"ome": {"version": "0.5", **said}} if version == "0.5" else said)
    return path
