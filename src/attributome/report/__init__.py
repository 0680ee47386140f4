"""A run as one offline page: what was asked, the answer, how sure we are, how to repeat it."""

from attributome.report.board import build_board
from attributome.report.build import build

__all__ = ["build", "build_board"]
