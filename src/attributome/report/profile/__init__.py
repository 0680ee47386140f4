"""A run of single-cell profiles as one offline page that asks what the classifier looks at."""

from attributome.report.profile.build import build_profile

__all__ = ["build_profile"]
