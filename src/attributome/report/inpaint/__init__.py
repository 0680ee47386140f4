"""A run of paired cell inpainting as one offline page that asks if features are worth using."""

from attributome.report.inpaint.build import build_inpaint

__all__ = ["build_inpaint"]
