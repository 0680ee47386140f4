"""The verb that looks for motifs in the evidence: k-mers, motifs in letters, and the seed frame."""

from pathlib import Path

import numpy as np

from attributome.core.files import plain
from attributome.pipeline.fcgr.found import found
from attributome.pipeline.fcgr.tables import write_table
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.fcgr import fcgr
from attributome.sequence.findings.motifs.find import Settings, find_motifs, record
from attributome.sequence.findings.motifs.meme import write_meme
from attributome.sequence.findings.motifs.table import kmer_table


def motifs(work: PairWork) -> Path:
    """Write `motifs.json`, `motifs.meme`, `kmers.parquet` and `seqlets.parquet`; once.

    Motifs are windows of the site's evidence that speak for interaction, in all explained pairs:
    what is asked is what the network goes by, rightly or not.
    """
    path = work.run.root / "motifs.json"
    if path.is_file():
        return path
    asked, k, seed = work.job.motifs, work.job.data.k, work.job.seed
    explained = found(work, asked.method)
    pairs, groups = explained.pairs, explained.pairs["mirna"].to_numpy()
    with work.timed("motifs") as progress:
        progress(0.0, "k-mers")
        sites = explained.strands("site")
        table = kmer_table(
            explained.maps("site"),
            fcgr(sites, k).reshape(len(pairs), -1),
            pairs["label"].to_numpy(np.int64) if "label" in pairs else None,
            groups,
            k=k,
            seed=seed,
        )
        progress(0.3, "motifs")
        made = find_motifs(
            explained.tracks("site"),
            explained.padded("hypothetical_site"),
            sites,
            explained.strands("mirna"),
            groups,
            settings=Settings(least=asked.least),
            seed=seed,
        )
        write_table(work.run.root / "kmers.parquet", table)
        chosen = made.seqlets.assign(id=pairs["id"].to_numpy()[made.seqlets["pair"]])
        write_table(work.run.root / "seqlets.parquet", chosen)
        write_meme(work.run.root / "motifs.meme", made.motifs)
        work.run.save("motifs", plain({"method": explained.method, **record(made)}))
        progress(1.0, f"{len(made.motifs)} motifs")
    return path
