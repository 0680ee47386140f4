"""Verbs on public archives and local sets: each ends with a table that `attributome run` takes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from attributome.cli import data_sets
from attributome.cli.data_flags import (
    Endpoint,
    Every,
    Format,
    FormatOf,
    Genes,
    Into,
    OnlyMetadata,
    Organelles,
    Override,
    PerOrganelle,
    Pinned,
    PixelSize,
    Scratch,
    Threads,
    Timeout,
    Tries,
    Wait,
    fractions_of,
    go_on,
    organelles_of,
    sizes_of,
    state_terms,
    told,
    under_way,
)
from attributome.cli.speaking import say

app = typer.Typer(
    help="From public archives, and sets of your own, to a table that `run` takes.",
    epilog="Images of the Human Protein Atlas: see `attributome inpaint prepare --kind hpa`.",
    no_args_is_help=True,
)
BRIGHT_FIELD = ("--input", "bright_field", "--target", "structure")


@app.command("allen-fields")
def allen_fields(
    out: Into,
    organelle: Organelles = None,
    gene: Genes = None,
    every: Every = False,
    images_per_organelle: PerOrganelle = 200,
    only_metadata: OnlyMetadata = False,
    override: Override = False,
    manifest_sha256: Pinned = None,
    format: FormatOf = Format.tiff,
    z_step: Annotated[
        float | None, typer.Option("--z-step", help="Micrometres between planes made anew.")
    ] = None,
    pixel_size: PixelSize = None,
    scratch: Scratch = None,
    threads: Threads = 4,
    tries: Tries = 5,
    timeout: Timeout = 30.0,
    wait: Wait = 1.0,
    endpoint: Endpoint = None,
) -> None:
    """Whole fields of the Allen cell archive, one per well.

    Each has one tagged structure: seven channels in uint16, with names and pixel size.
    """
    words = {"z_step": z_step, "scratch": scratch, "manifest_sha256": manifest_sha256}
    words |= {"images_per_organelle": images_per_organelle, "override": override}
    words |= {"only_metadata": only_metadata, "format": format.value}
    words |= {"threads": threads, "tries": tries, "timeout": timeout, "wait": wait}
    names = organelles_of(organelle, gene, every)
    _allen("fields", out, names, endpoint, pixel_size=sizes_of(pixel_size), **words)


@app.command("allen-cells")
def allen_cells(
    out: Into,
    organelle: Organelles = None,
    gene: Genes = None,
    every: Every = False,
    images_per_organelle: PerOrganelle = 100,
    only_metadata: OnlyMetadata = False,
    override: Override = False,
    manifest_sha256: Pinned = None,
    format: FormatOf = Format.tiff,
    z_ratio: Annotated[
        float | None,
        typer.Option(
            "--z-ratio", help="Planes of a crop in one of the field; else by their sizes."
        ),
    ] = None,
    without_stage: Annotated[
        str, typer.Option("--without-stage", help="Left out, M0 is interphase; empty: none.")
    ] = "M0",
    masked: Annotated[bool, typer.Option("--masked", help="All outside of the cell is 0.")] = False,
    dilate: Annotated[
        int, typer.Option("--dilate", help="Side of the square that widens the cell.")
    ] = 0,
    pixel_size: PixelSize = None,
    scratch: Scratch = None,
    threads: Threads = 4,
    tries: Tries = 5,
    timeout: Timeout = 30.0,
    wait: Wait = 1.0,
    endpoint: Endpoint = None,
) -> None:
    """Single cells of the Allen cell archive, cut from fields."""
    words = {"z_ratio": z_ratio, "scratch": scratch, "manifest_sha256": manifest_sha256}
    words |= {"images_per_organelle": images_per_organelle, "override": override}
    words |= {"only_metadata": only_metadata, "format": format.value}
    words |= {"without_stage": without_stage or None, "masked": masked, "dilate": dilate}
    words |= {"threads": threads, "tries": tries, "timeout": timeout, "wait": wait}
    names = organelles_of(organelle, gene, every)
    _allen("cells", out, names, endpoint, pixel_size=sizes_of(pixel_size), **words)


@app.command()
def drugs(
    out: Into,
    table: Annotated[Path, typer.Option("--table", help="CSV with a row for each field.")],
    images: Annotated[Path, typer.Option("--images", help="Folder with the stacks, at any depth.")],
    structure: Annotated[
        list[str] | None, typer.Option("--structure", help="Repeat for more; all unless said.")
    ] = None,
    drug: Annotated[
        list[str] | None, typer.Option("--drug", help="As the table has it, or Vehicle; repeat.")
    ] = None,
    images_per_drug: Annotated[
        int | None, typer.Option("--images-per-drug", help="The first of each structure and drug.")
    ] = None,
    every_plate: Annotated[
        bool, typer.Option("--every-plate", help="Not only the first plate of each drug.")
    ] = False,
    only_metadata: OnlyMetadata = False,
    override: Override = False,
    format: FormatOf = Format.tiff,
    pixel_size: PixelSize = None,
) -> None:
    """Allen's cells under drugs, from a folder of your own.

    The structures are segmented here, each by its recipe; the first plate of each drug is taken.
    """
    from attributome.data.sources.drugs import FACTS, LISTED, TERMS, build_drugs

    size = sizes_of(pixel_size)
    state_terms(TERMS, out)
    with under_way("drugs", "fields") as show:
        report = build_drugs(
            out,
            table=table,
            images=images,
            structures=structure or None,
            drugs=drug or None,
            images_per_drug=images_per_drug,
            every_plate=every_plate,
            only_metadata=only_metadata,
            override=override,
            format=format.value,
            pixel_size=size,
            progress=show,
        )
    told(report, out / FACTS, [out / LISTED], *BRIGHT_FIELD)


for verb in (data_sets.jump, data_sets.rxrx1, data_sets.cifar10, data_sets.cifar10c):
    app.command()(verb)


@app.command("list")
def convert(
    path: Annotated[Path, typer.Argument(metavar="LIST", help="An image_list_*.csv.")],
    folder: Annotated[
        Path, typer.Option("--folder", help="What the list's placeholder stands for.")
    ],
    out: Into,
    was: Annotated[str, typer.Option("--was", help="What the list has for that folder.")] = "***",
    override: Override = False,
    pixel_size: PixelSize = None,
) -> None:
    """A list of the mask interpreter's scripts, to a table.

    Its stacks in float16 become OME-TIFF in uint16, with names.
    """
    from attributome.data.sources.originals import TERMS, convert_list

    size = sizes_of(pixel_size)
    state_terms(TERMS, out)
    with under_way("list", "stacks") as show:
        rows = convert_list(
            path, out, folder=folder, was=was, pixel_size=size, override=override, progress=show
        )
    lost = int((rows["overflowed"] > 0).sum())
    say(f"{len(rows)} stacks; in {lost} of them float16 had overflowed")
    go_on(out / "images.csv", *BRIGHT_FIELD)


@app.command()
def split(
    table: Annotated[Path, typer.Argument(help="A CSV or Parquet table of images.")],
    group: Annotated[
        str | None, typer.Option("--group", help="field, well or plate, or a column: kept whole.")
    ] = None,
    fractions: Annotated[
        list[str] | None,
        typer.Option("--fractions", metavar="PART=SHARE", help="Repeat; shares of the groups."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Another name in the table's folder.")
    ] = None,
) -> None:
    """Deal whole fields, wells or plates to train, test etc.

    The table with the column `split` is written beside the one that is given.
    """
    from attributome.data.sources.dealing import FRACTIONS, deal

    shares = fractions_of(fractions) or FRACTIONS
    path, counts = deal(table, group=group, fractions=shares, seed=seed, out=out)
    for part, groups, rows in counts.itertuples(index=False):
        say(f"{part}: {rows} rows of {groups} {group or 'row'}{'s' * (groups != 1)}")
    go_on(path, "--set", "data.group=split_group")


def _allen(kind: Any, out: Path, names: Any, endpoint: str | None, **words: Any) -> None:
    from attributome.data.sources.allen import ENDPOINT, TERMS, build_allen
    from attributome.data.sources.allen_tables import ALL

    state_terms(TERMS, out)
    address = endpoint or ENDPOINT
    with under_way(f"allen-{kind}", "images") as show:
        report = build_allen(
            out, kind=kind, organelles=names, endpoint=address, progress=show, **words
        )
    told(report, out / ALL, [out / name / f"{name}.csv" for name in names], *BRIGHT_FIELD)
