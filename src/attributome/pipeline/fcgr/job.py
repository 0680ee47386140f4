"""A job on pairs of a miRNA and a site: one screen of TOML, checked before anything is computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from attributome.config import Section, checked, put, read_as

Share = Annotated[float, Field(gt=0, lt=1)]
How = Literal["given", "random", "stratified", "mirna", "family", "site", "none"]


class PairData(Section):
    """Which pairs, how their columns are called, and which of them serve for what."""

    source: str = Field("", description="CSV, TSV, Parquet or FASTA of miRNAs; may be gzipped")
    sites: str = Field("", description="FASTA of the sites, in the order of the miRNAs")
    mirna_column: str = "mature_miRNA_Transcript"
    site_column: str = "mRNA_Site_Transcript"
    label_column: str = Field("validation", description="1 where they interact, else 0")
    id_column: str = Field("", description="empty: the number of the row")
    family_column: str = Field("miRNA_family", description="where it is absent: the seed")
    split_column: str = "split"
    k: int = Field(5, ge=1, le=8, description="letters of a word; an image has 4^k pixels")
    unknown: Literal["skip", "refuse"] = Field(
        "skip", description="leave out windows with an N, or refuse the sequence"
    )
    split: How = Field("mirna", description="what is never in two parts; none: all pairs are test")
    shares: dict[Literal["train", "validate", "test"], Share] = Field(
        {"train": 0.7, "validate": 0.15, "test": 0.15}
    )


class NetworkJob(Section):
    """The network to train, or one that exists."""

    kind: Literal["ours", "upstream"] = "ours"
    source: str = Field("", description="folder of a network, or a checkpoint of the upstream's")
    dropout: float | None = Field(None, ge=0, lt=1, description="None: the network's own")
    options: dict[str, Any] = Field({}, description="more keywords of the network")


class TrainJob(Section):
    """How long and how fast to train."""

    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    epochs: int = Field(12, ge=1)
    batch: int = Field(64, ge=2)
    patience: int | None = Field(4, ge=1, description="epochs without gain before stopping")
    minutes: float | None = Field(None, gt=0, description="stop after this many minutes")
    clip: float | None = Field(1.0, gt=0, description="largest norm of a gradient")
    watch: Literal["loss", "auc_gap"] = Field("loss", description="what must fall; 1 - AUC")
    balance: bool = Field(False, description="weigh both labels alike")


class EvaluateJob(Section):
    """How the network and the trivial predictors are compared."""

    part: Literal["test", "validate", "train", "all"] = "test"
    draws: int = Field(1000, ge=10, description="bootstrap draws of miRNAs")


class ExplainJob(Section):
    """Which pairs are explained, and by which methods; mutagenesis always is the reference."""

    methods: dict[str, dict[str, Any]] = Field(
        {}, description="empty: the default set; name_alone explains each branch by itself"
    )
    part: Literal["test", "validate", "train", "all"] = "test"
    pairs: int = Field(256, ge=0, description="how many, evenly over the labels; 0: all")
    interactions: int = Field(16, ge=0, description="pairs with maps of position by position")
    letters: Literal["complement", "mean"] = Field(
        "complement", description="what a letter of a double mutant turns into; mean: 9 x as long"
    )
    background: int = Field(20, ge=1, description="training pairs that stand for the average")


class MotifsJob(Section):
    """What the motifs are made of."""

    method: str = Field("", description="empty: the default method")
    least: int = Field(10, ge=2, description="seqlets that make a motif")


class CompareJob(Section):
    """How pairs that interact are compared with those that do not."""

    method: str = Field("", description="empty: the default method")
    draws: int = Field(1000, ge=10, description="permutations of labels within miRNAs")


class FcgrJob(Section):
    """Everything one run on pairs is asked for."""

    name: str = "fcgr"
    seed: int = 0
    data: PairData = PairData()
    network: NetworkJob = NetworkJob()
    train: TrainJob = TrainJob()
    evaluate: EvaluateJob = EvaluateJob()
    explain: ExplainJob = ExplainJob()
    motifs: MotifsJob = MotifsJob()
    compare: CompareJob = CompareJob()


def read_job(path: Path | None, changes: Mapping[str, Any] | None = None) -> FcgrJob:
    """A job from a TOML file and from `section.key` changes, which go first."""
    return read_as(FcgrJob, path, changes)


def job_from(values: Mapping[str, Any], where: str) -> FcgrJob:
    """Check plain values, and say in one sentence what the first mistake is."""
    return checked(FcgrJob, values, where)


def changed(job: FcgrJob, changes: Mapping[str, Any]) -> FcgrJob:
    """The job with other values for some of its keys."""
    values = job.model_dump(mode="json")
    put(values, changes)
    return job_from(values, "the flags")
