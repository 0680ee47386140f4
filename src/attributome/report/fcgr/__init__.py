"""A run on pairs of a miRNA and a site as one offline page that can be asked about each pair."""

from attributome.report.fcgr.build import build_fcgr

__all__ = ["build_fcgr"]
