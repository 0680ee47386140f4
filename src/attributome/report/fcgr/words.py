"""Names and sentences of the page on miRNAs and sites."""

import shlex
from pathlib import Path

from attributome.report.looks import look

TRIVIAL = {
    "seed_kind": ("seed match, graded", "8mer, 7mer-m8, 7mer-A1, 6mer or none; not trained"),
    "seed_rule": ("seed match, yes or no", "the site holds the partner of nt 2–7; not trained"),
    "rc_product": ("reverse-complement product", "k-mers of one against the other; not trained"),
    "logistic": ("logistic regression", "on both images side by side"),
    "mirna_identity": ("miRNA identity", "how often this miRNA is positive in training"),
    "site_identity": ("site identity", "how often this site is positive in training"),
    "random": ("random numbers", "no relation to the pair"),
}
NETWORKS = {
    "network": ("the network", "explained on this page"),
    "ours": ("PairNet", "letters and words in every register of the two strands"),
    "upstream": ("upstream two-branch CNN", "the two images side by side"),
}
METRICS = {
    "auc": "AUC",
    "ap": "average precision",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "mcc": "MCC",
    "specificity": "specificity",
    "brier": "Brier score (lower is better)",
}
METHODS = {
    "mutagenesis": ("in-silico mutagenesis", "every letter exchanged; the reference of all others"),
    "expected_gradients_shuffled": (
        "expected gradients, shuffled references",
        "against shuffles that keep the dinucleotides of each sequence",
    ),
    "smooth_grad_sequence": ("SmoothGrad in sequence space", "over random substitutions"),
    "occlusion_kmers": ("k-mer occlusion", "one k-mer taken out at a time"),
    "hypothetical_spaced": (
        "foretold substitutions",
        "what each exchange would do, foretold by gradients half way to near mutants",
    ),
    "hypothetical_shuffled": (
        "foretold substitutions, over shuffles",
        "what each exchange would do by the slope, averaged over shuffles of the sequence",
    ),
    "hypothetical_here": (
        "foretold substitutions, at the pair",
        "what each exchange would do by the slope at the pair itself",
    ),
    "integrated_gradients_by_branch": (
        "integrated gradients, by branch",
        "each branch from an empty image, the other as it is",
    ),
    "expected_gradients_real": ("expected gradients, real pairs", "against pairs of training"),
    "smooth_grad_simplex": ("SmoothGrad on the simplex", "over images of noisy k-mer shares"),
    "random": ("random numbers", "the control: what a map reaches that knows nothing"),
    "kmer_shapley": ("k-mer Shapley values", "the fair share of each k-mer"),
}
OUTCOMES = {
    "TP": "true positive",
    "FP": "false positive",
    "TN": "true negative",
    "FN": "false negative",
}
BRANCH = {"site": "site", "mirna": "miRNA"}
MADE_BY = {
    "audit": "audit",
    "evaluation": "evaluate",
    "explained": "explain",
    "trust": "explain",
    "motifs": "motifs",
    "kmers": "motifs",
    "contrasts": "compare",
}


def command(root: Path, part: str) -> str:
    """The command that makes a part of this run."""
    return f"attributome fcgr {MADE_BY[part]} --out {shlex.quote(str(root))}"


def predictor(name: str) -> tuple[str, str]:
    """A predictor's name and what it is."""
    return TRIVIAL.get(name) or NETWORKS.get(name) or (name, "")


def method(name: str) -> tuple[str, str]:
    """A method's name and what it is; `name_alone` explains one branch with the other held."""
    whole, alone = (
        (name.removesuffix("_alone"), ", each branch alone")
        if name.endswith("_alone")
        else (name, "")
    )
    known = METHODS.get(whole)
    label, about = known or (look(whole).label, look(whole).about)
    return label + alone, about


def site_kind(kind: str) -> str:
    """A kind of seed match in a table."""
    return kind or "none"
