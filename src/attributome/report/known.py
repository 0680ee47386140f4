"""What the keys of summary.json mean, in words."""

from attributome.report.looks import look, the

KNOWN = {
    "efficacy_median": "efficacy of the binary signature, median",
    "efficacy_low": "its 95 % interval, low",
    "efficacy_high": "its 95 % interval, high",
    "mask_size_median": "share of the field that is kept, median",
    "random_mask_efficacy_median": "random pixels, same area",
    "translated_mask_efficacy_median": "same mask, moved",
    "flipped_mask_efficacy_median": "same mask, flipped",
    "blurred_noise_mask_efficacy_median": "random blobs, same area",
    "intensity_mask_efficacy_median": "brightest contrast, same area",
    "edges_mask_efficacy_median": "edges, same area",
    "uniform_soft_efficacy_median": "uniform grey mask, soft",
    "area_ratio_to_intensity": "smallest area, learned / brightest contrast",
    "area_ratio_to_intensity_worst": "the same, in the worst field",
    "predictor_pcc": "prediction against the real target, PCC",
    "predictor_r2": "prediction against the real target, share of variance explained",
    "predictor_mse": "prediction against the real target, mean squared error, median",
    "predictor_error": "prediction against the real value, absolute error, median",
    "predictor_correct": "prediction against the real class, 1 where right, median",
    "predictor_cross_entropy": "prediction against the real class, cross-entropy, median",
    "predictor_accuracy": "share of fields in which the network names the real class",
    "predictor_accuracy_low": "its exact 95 % interval, low",
    "predictor_accuracy_high": "its exact 95 % interval, high",
    "predictor_fields": "fields behind that share",
    "planted_recall": "recall of the planted region",
    "planted_precision": "precision of the planted region",
    "decoy_ratio": "importance of the decoy / of the true region",
    "certified_floor": "the efficacy that is certified",
    "certified_passed": "test fields that keep it",
    "certified_fields": "test fields that were tried",
    "certified_share": "share of fields like these that keep it, at least, with 95 % confidence",
    "guarantee": "the guarantee, or why there is none",
    "guarantee_given": "whether the guarantee could be given",
    "fields_test": "test fields",
    "seconds": "seconds for the whole job",
}
ENDINGS = {
    "_mask_efficacy_median": "{}, same area",
    "_smallest_area_median": "smallest area of {} that keeps the asked efficacy, median",
    "_floor_not_reached": "fields in which no tried area of {} keeps the asked efficacy",
    "_mask_size_median": "mean value of the mask of {}, median",
    "_efficacy_median": "efficacy of {}, median",
}
"""Keys that begin with the name of a method."""


def meaning(key: str) -> str:
    """What a key of the summary means; nothing for one that this page has not met."""
    if key in KNOWN:
        return KNOWN[key]
    for ending, words in ENDINGS.items():
        method = key.removesuffix(ending)
        if method not in ("", key):
            label = look(method).label
            return words.format(label if words.startswith("{}") else the(method))
    return ""
