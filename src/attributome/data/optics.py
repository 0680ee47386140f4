"""How a scene looks: transmitted light a little out of focus, and the nuclear stain."""

import numpy as np
from jaxtyping import Float32

from attributome.data.scenes import Scene
from attributome.data.shapes import blur, curvature

Image = Float32[np.ndarray, "z y x"]


def bright_field(scene: Scene, draw: np.random.Generator) -> Image:
    """Camera counts in transmitted light, with shot and read noise.

    Thickness is seen through defocus, as its curvature (bright and dark fringes) and a broad halo;
    chromatin absorbs where it is.
    """
    planes = len(scene.light)
    z = np.arange(planes).reshape(-1, 1, 1)
    # contrast of thickness grows through focus; a single plane lies in between
    defocus = 1.0 if planes == 1 else 0.35 + 1.3 * z / (planes - 1)
    thickness = scene.bodies + 0.35 * scene.nuclei + 0.3 * scene.nucleoli
    contrast = (
        -0.065 * defocus * curvature(thickness, 1.0)
        - 0.03 * (blur(thickness, 1.5) - blur(thickness, 8))
        - 0.05 * blur(scene.chromatin, 0.5)
        - 0.012 * scene.nucleoli
        + 0.016 * scene.organelles
        + 0.040 * scene.vesicles
        + 0.025 * scene.debris
    )
    counts = 20000 * scene.light * (1 + blur(contrast, 0.4))
    noisy = draw.normal(counts, np.sqrt(0.45 * counts.clip(0) + 60.0**2))
    return np.asarray(noisy.round().clip(0, 65535), np.float32)


def nuclear_stain(scene: Scene, draw: np.random.Generator) -> Image:
    """Camera counts of a stain that sits on chromatin: nothing but the nuclei enters here."""
    counts = 300 + 9000 * blur(scene.chromatin, 0.6)
    noisy = draw.normal(counts, np.sqrt(2 * counts + 20.0**2))
    return np.asarray(noisy.round().clip(0, 65535), np.float32)
