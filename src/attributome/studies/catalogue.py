"""Every study by name: the question it answers, and what it needs of the runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A study as a page and a command line name it."""

    title: str
    question: str
    needs: str


CATALOGUE: dict[str, Entry] = {
    "scores": Entry(
        "Predictor scores",
        "How well does each predictor paint what it was trained to?",
        "target images",
    ),
    "noise": Entry(
        "Noise scale",
        "How strong must noise be to hide a field from the predictor?",
        "predictors of images",
    ),
    "threshold": Entry(
        "Threshold",
        "How much of a mask is enough?",
        "masks",
    ),
    "efficacy": Entry(
        "Efficacy",
        "What does each predictor keep saying when only its signature is left?",
        "masks",
    ),
    "groups": Entry(
        "Groups of fields",
        "Do groups of fields differ in efficacy or in score?",
        "groups.by, columns of the table of fields",
    ),
    "methods": Entry(
        "Methods at equal noised volume",
        "Which method finds what the predictor uses, when all may leave the same share?",
        "predictors of images that gradients reach",
    ),
    "regions": Entry(
        "Noise in a drawn region",
        "Does noise in one region hurt more than in another place of the same size?",
        "a segmentation, or a region drawn by flags",
    ),
    "spatial": Entry(
        "Correlation from place to place",
        "Where in a field is the prediction right, and does the mask know it?",
        "target images",
    ),
    "perturbations": Entry(
        "Agreement of what changes",
        "Do prediction and truth change alike from one group of fields to another?",
        "target images, groups.by and groups.control",
    ),
    "dremi": Entry(
        "Efficacy and accuracy",
        "How much does efficacy know of accuracy?",
        "target images",
    ),
    "ablation": Entry(
        "Loss weights",
        "What does each term of the loss do?",
        "time: it trains a generator for each setting",
    ),
    "gallery": Entry(
        "Gallery",
        "What do signatures look like, field by field and plane by plane?",
        "masks",
    ),
    "panel": Entry(
        "One field, all predictors",
        "What does each predictor see in the same field?",
        "a field that several runs judge",
    ),
    "confidence": Entry(
        "Claimed error",
        "Can a second network say how wrong a prediction is, where no truth is known?",
        "target images",
    ),
    "correctness": Entry(
        "Right answers",
        "Is a classifier right where its mask says so?",
        "classifiers",
    ),
}
