"""What anybody can predict without a network: the figures that a network must beat.

Each predictor takes pairs to learn from and pairs to judge, and gives one score for each of the
latter, higher where it believes in an interaction. Scores are for ranking, and are never NaN.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.sparse import csr_array, hstack

from attributome.sequence.alphabet import reverse_complement, strands
from attributome.sequence.fcgr import reverse_complement_pixels, window_counts, windows
from attributome.sequence.pairs.reading import labels_of
from attributome.sequence.regions import KINDS, seed_match

Scores = Float[np.ndarray, " n"]

AT_ONCE = 2**22
"""Comparisons of two windows that are held at once."""


def mirna_identity(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> Scores:
    """The share of positives among the miRNA's pairs in training; for an unseen one, of all."""
    return _share_of_positives(train, test, "mirna")


def site_identity(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> Scores:
    """The share of positives among the site's pairs in training; for an unseen one, of all."""
    return _share_of_positives(train, test, "site")


def seed_rule(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> Scores:
    """1 where the site holds the partner of nt 2-7, else 0."""
    six = [reverse_complement(mirna[1:7]) if len(mirna) > 6 else "-" for mirna in test["mirna"]]
    return np.array([word in site for word, site in zip(six, test["site"], strict=True)], float)


def seed_kind(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> Scores:
    """The strongest seed match: 8mer 4, 7mer-m8 3, 7mer-A1 2, 6mer 1, none 0 (Bartel 2009)."""
    grade = dict(zip((*KINDS, ""), (4.0, 3.0, 2.0, 1.0, 0.0), strict=True))
    pairs = zip(test["mirna"], test["site"], strict=True)
    return np.array([grade[seed_match(mirna, site).kind] for mirna, site in pairs], float)


def logistic(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> Scores:
    """Log odds of a logistic regression on both FCGRs: linear, so no word meets its partner.

    Pixels are scaled to a largest value of 1 in training. With labels of one kind only there is
    nothing to learn, and every score is 0.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MaxAbsScaler

    labels = labels_of(train)
    if not len(test) or len(np.unique(labels)) < 2:
        return np.zeros(len(test))
    scaler = MaxAbsScaler()
    seen = scaler.fit_transform(_sparse_images(train, k))
    model = LogisticRegression(max_iter=1000).fit(seen, labels)
    scores: np.ndarray = model.decision_function(scaler.transform(_sparse_images(test, k)))
    return scores


def rc_product(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> Scores:
    """Σ over pixels of the miRNA's FCGR times the site's at the reverse complement: untrained.

    That is the share of all (miRNA window, site window) in which the two pair letter by letter.
    """
    mirnas, sites = strands(test["mirna"].tolist()), strands(test["site"].tolist())
    partner = np.append(reverse_complement_pixels(k).astype(np.int32), np.int32(-2))  # of -1
    own, other = windows(mirnas, k), partner[windows(sites, k)]
    found = np.zeros(len(test))
    step = max(1, AT_ONCE // max(1, own.shape[1] * other.shape[1]))
    for at in range(0, len(test), step):
        rows = slice(at, at + step)
        found[rows] = (own[rows, :, None] == other[rows, None, :]).sum((1, 2))
    pairs = window_counts(mirnas, k) * window_counts(sites, k)
    shares: np.ndarray = found / np.maximum(pairs, 1)
    return shares


Trivial = Callable[..., Scores]

TRIVIAL: dict[str, Trivial] = {
    "mirna_identity": mirna_identity,
    "site_identity": site_identity,
    "seed_rule": seed_rule,
    "seed_kind": seed_kind,
    "logistic": logistic,
    "rc_product": rc_product,
}


def trivial_scores(train: pd.DataFrame, test: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """The scores of every trivial predictor: column `id` of `test`, and one for each of them."""
    scores = {name: predict(train, test, k=k) for name, predict in TRIVIAL.items()}
    return pd.DataFrame({"id": test["id"].to_numpy(), **scores})


def _share_of_positives(train: pd.DataFrame, test: pd.DataFrame, column: str) -> Scores:
    labels = pd.Series(labels_of(train), index=train[column].to_numpy())
    overall = float(labels.mean()) if len(labels) else 0.5
    known = labels.groupby(level=0).mean()
    return test[column].map(known).fillna(overall).to_numpy(np.float64)


def _sparse_images(pairs: pd.DataFrame, k: int) -> csr_array:
    """FCGRs of both sequences side by side, without their zeros."""
    parts = []
    for column in ("mirna", "site"):
        batch = strands(pairs[column].tolist())
        at, counts = windows(batch, k), window_counts(batch, k)
        row, start = np.nonzero(at >= 0)
        cells = (row, at[row, start])
        parts.append(csr_array((1.0 / counts[row], cells), shape=(len(pairs), 4**k)))
    return csr_array(hstack(parts))
