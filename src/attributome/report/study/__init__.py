"""The figure page: every figure of the studies of some runs, with its caption."""

from attributome.report.study.build import build_study

__all__ = ["build_study"]
