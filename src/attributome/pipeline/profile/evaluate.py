"""The verb that says what the network and the profiles are worth, and what of them is batch."""

from typing import Any

import pandas as pd

from attributome.core.errors import DataError, Refusal, UsageError
from attributome.core.files import plain, write_whole
from attributome.pipeline.profile.checking import has_umap
from attributome.pipeline.profile.features import need_features
from attributome.pipeline.profile.judging import accuracies
from attributome.pipeline.profile.network import network
from attributome.pipeline.profile.pixels import channel_rows
from attributome.pipeline.profile.replicates import (
    batch_rows,
    comparison,
    matching_rows,
    neighbour_rows,
    retrieval,
)
from attributome.pipeline.profile.telling import spoken
from attributome.pipeline.profile.wells import WELL, read_profiles
from attributome.pipeline.profile.work import CAMO, PROFILES, ProfileWork, open_cells
from attributome.profiles.formats import METADATA, feature_names, read_about
from attributome.profiles.proteins.maps import umap_of


def evaluate(work: ProfileWork) -> dict[str, Any]:
    """Write `evaluation.json` and `umap.parquet`; what is there already stays.

    A statistic that these wells do not allow has a row with its reason and no numbers.
    """
    done = work.run.load("evaluation")
    if done is not None:
        return done
    root = work.run.root
    if not (root / PROFILES).is_file():
        raise DataError(f"{root} has no profiles yet: run `attributome profile normalise` first")
    profiles = read_profiles(root)
    _check_rules(work, profiles["raw"])
    with work.timed("evaluate") as progress:
        progress(0.0, "classifying held-out cells")
        cells = open_cells(work)
        asked = network(work, cells)
        _check_mark(work, asked.sha256)
        done = {"label": work.job.data.label, "classes": [*asked.classes]}
        done["accuracy"] = accuracies(work, cells, asked)
        progress(0.3, "looking for replicates")
        done["retrieval"], done["groups"] = retrieval(work, profiles)
        done["matching"] = matching_rows(work, profiles)
        done["neighbours"] = neighbour_rows(work, profiles)
        done["batches"] = batch_rows(work, profiles)
        done["before_after"] = comparison(work, profiles, done)
        progress(0.7, "correlating channels")
        done["channels"], done["channels_reason"] = channel_rows(work)
        progress(0.9, "a map of wells")
        done["umap"] = _umap(work, profiles)
        told: dict[str, Any] = plain(done)
        told["words"] = spoken(told)
        progress(1.0, "evaluation is written")
    work.run.save("evaluation", told)
    return told


def _check_mark(work: ProfileWork, mark: str) -> None:
    path = need_features(work)
    if read_about(path)["weights_sha256"] != mark:
        raise DataError(
            f"the features of {work.run.root} were made with other weights than those of the "
            f"network: delete features.parquet, parts/features and profiles to make them again"
        )


def _check_rules(work: ProfileWork, table: pd.DataFrame) -> None:
    """Refuse columns that wells do not have."""
    asked = work.job.evaluate
    for key in ("pos_sameby", "pos_diffby", "neg_sameby", "neg_diffby"):
        for name in getattr(asked, key):
            if f"{METADATA}{name}" not in table:
                known = [
                    c.removeprefix(METADATA) for c in map(str, table) if c.startswith(METADATA)
                ]
                raise UsageError(f"evaluate.{key} has {name!r}; wells have {', '.join(known)}")


def _umap(work: ProfileWork, profiles: dict[str, pd.DataFrame]) -> str:
    """Write `umap.parquet`; where nobody asked for it, say instead why there is none."""
    asked, label = work.job.evaluate.umap, work.job.data.label
    if asked is False or (asked is None and not has_umap()):
        return "not asked for" if asked is False else "umap-learn is not installed"
    tables, reasons = [], []
    camo = _well_scores(work)
    for stage, table in profiles.items():
        values = table[feature_names(table)].to_numpy(float)
        try:
            near = min(15, len(table) - 1)
            places = umap_of(values, neighbours=near, seed=work.job.seed)
        except Refusal as refusal:
            if asked:
                raise
            reasons.append(f"{stage}: {refusal}")
            continue
        found = pd.DataFrame({"id": table[WELL], "x": places[:, 0], "y": places[:, 1]})
        found["treatment"] = table[f"{METADATA}{label}"].astype(str)
        found["plate"] = table[f"{METADATA}plate"].astype(str)
        found["camo"] = camo.reindex(table[WELL]).to_numpy(float)
        tables.append(found.assign(profiles=stage))
    if tables:
        whole = pd.concat(tables, ignore_index=True)
        path = work.run.root / "umap.parquet"
        write_whole(path, lambda part: whole.to_parquet(part, index=False))
    return "; ".join(reasons)


def _well_scores(work: ProfileWork) -> pd.Series:
    """The median Grad-CAMO of each well; nothing where there is none yet."""
    path = work.run.root / CAMO
    if not path.is_file():
        return pd.Series(dtype=float)
    table = pd.read_parquet(path, columns=["plate", "well", "score_cell"])
    wells = table["plate"].astype(str) + "/" + table["well"].astype(str)
    return table.groupby(wells)["score_cell"].median()
