"""Motifs as files that other programs read: the minimal MEME format (Bailey et al. 2015).

Names are written with underscores for spaces. What is read back are probabilities: MEME has no
place for contributions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from attributome.core.errors import DataError
from attributome.core.files import write_text
from attributome.sequence.findings.motifs.patterns import UNIFORM, Motif, consensus, probabilities

HEAD = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: +\n\nBackground letter frequencies\n"


@dataclass(frozen=True, slots=True, eq=False)
class Pwm:
    """A motif as MEME knows it: rows are positions, columns A, C, G, T, and each sums to 1."""

    name: str
    alternate: str
    probabilities: Float[np.ndarray, "w 4"]
    sites: int


def pwm_of(motif: Motif, *, background: tuple[float, ...] = UNIFORM) -> Pwm:
    """What of a motif MEME can hold."""
    pwm = probabilities(motif.counts, background=background)
    return Pwm(motif.name.replace(" ", "_"), consensus(motif.counts), pwm, len(motif.members))


def write_meme(
    path: Path, motifs: Sequence[Motif | Pwm], *, background: tuple[float, ...] = UNIFORM
) -> None:
    """Write motifs whole, with six decimals."""
    shares = " ".join(
        f"{letter} {share:.6f}" for letter, share in zip("ACGT", background, strict=True)
    )
    blocks = [f"{HEAD}{shares}\n"]
    for motif in motifs:
        one = pwm_of(motif, background=background) if isinstance(motif, Motif) else motif
        rows = "".join(" " + "  ".join(f"{p:.6f}" for p in row) + "\n" for row in one.probabilities)
        blocks.append(
            f"\nMOTIF {one.name} {one.alternate}".rstrip()
            + f"\nletter-probability matrix: alength= 4 w= {len(one.probabilities)} "
            f"nsites= {one.sites} E= 0\n{rows}"
        )
    write_text(path, "".join(blocks))


def read_meme(path: Path) -> list[Pwm]:
    """Motifs of a MEME file of DNA or RNA; positions whose letters do not sum to 1 are refused."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a MEME file: {error}") from None
    if not lines or not lines[0].startswith("MEME version"):
        raise DataError(f'{path} is no MEME file: its first line must say "MEME version 4"')
    alphabet = next((one for one in lines if one.startswith("ALPHABET")), "ALPHABET= ACGT")
    if alphabet.partition("=")[2].strip() not in ("ACGT", "ACGU"):
        raise DataError(f"{path} has {alphabet!r}; only the letters ACGT and ACGU are read")
    found, name, alternate = list[Pwm](), "", ""
    for row, line in enumerate(lines):
        words = line.split()
        if words[:1] == ["MOTIF"]:
            if len(words) < 2:
                raise DataError(f"line {row + 1} of {path} names no motif")
            name, alternate = words[1], " ".join(words[2:])
        if line.startswith("letter-probability matrix"):
            if not name:
                raise DataError(f"line {row + 1} of {path} is a matrix without a MOTIF before it")
            said = dict(re.findall(r"(\w+)= *(\S+)", line))
            matrix = _matrix(path, lines, row + 1, said.get("w"))
            found.append(Pwm(name, alternate, matrix, int(float(said.get("nsites", 0)))))
            name = ""
    return found


def _matrix(
    path: Path, lines: list[str], first: int, width: str | None
) -> Float[np.ndarray, "w 4"]:
    """The rows of a matrix from line `first`; as many as it says, or as there are."""
    rows = []
    for line in lines[first:]:
        if not re.fullmatch(r"\s*[\d.]\S*(\s+[\d.]\S*){3}\s*", line):
            break
        rows.append([float(word) for word in line.split()])
    matrix = np.array(rows, np.float64).reshape(-1, 4)
    if not len(matrix) or (width is not None and len(matrix) != int(width)):
        raise DataError(
            f"line {first} of {path} begins a matrix of {width or 'some'} rows of four numbers; "
            f"{len(matrix)} follow"
        )
    off = np.flatnonzero(np.abs(matrix.sum(1) - 1) > 1e-3)
    if len(off):
        raise DataError(
            f"line {first + 1 + off[0]} of {path} sums to {matrix[off[0]].sum():g}; letters of a "
            f"position sum to 1"
        )
    return matrix
