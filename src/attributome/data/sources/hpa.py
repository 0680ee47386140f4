"""Images of the Human Protein Atlas: from a list of genes to a folder of JPEGs and a manifest.

Each gene has an XML page that names its images (Thul et al. 2017, the Cell Atlas). An image
`762_F2_1_blue_red_green.jpg` is plate 762, well F2, field 1; newer names carry a tag,
`1645_H1_6_cr57b5683c9a8ca_blue_red_green.jpg`, and their field is 6 all the same. Red is
microtubules, green the antibody, blue nuclei.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import pandas as pd
from PIL import Image

from attributome.core.errors import DataError, UsageError
from attributome.core.files import sha256, write_text
from attributome.data.sources.downloads import Item, fetch_all

SITE = "https://www.proteinatlas.org"
CHANNELS = "blue_red_green"
OTHER_MARKERS = ("ciliated cell lines",)
"""Sub-assays whose red channel is another structure than microtubules, one image per z-plane."""

PAGE_BYTES = 2**27
IMAGE_BYTES = 2**27
AT_ONCE = 50
"""Genes after which the manifest is written again."""

MANIFEST = "images.csv"
COLUMNS = (
    *("gene", "ensembl", "symbol", "antibody", "cell_line", "sub_assay", "channels"),
    *("plate", "well", "field", "tag", "group"),
    *("url", "path", "bytes", "sha256", "status", "reason"),
)
LICENCE = """\
These images and pages are of the Human Protein Atlas, {site}

The Human Protein Atlas states its licence as Creative Commons Attribution-ShareAlike
(CC BY-SA 4.0) and asks to be cited, with the address of the page of the gene and, for images of
cells, Thul et al., A subcellular map of the human proteome, Science 356, eaal3321 (2017).
This note was written by a program and is not the licence: check the present terms on the site
(about/licence) before you use, change or pass on what is in this folder. What you derive
from it may have to carry the same licence.
"""

_GENE = re.compile(r"ENSG\d{11}").fullmatch
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*").fullmatch
_NAME = re.compile(
    r"(?P<plate>\d+)_(?P<well>[A-Z]{1,2}\d{1,2})_(?P<field>\d+)(?:_(?P<tag>cr[0-9a-z]+))?"
    r"_(?P<channels>[a-z]+(?:_[a-z]+)*)\.jpe?g"
).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An image that a page names; "" is what the page does not say."""

    url: str
    antibody: str
    cell_line: str
    sub_assay: str


@dataclass(frozen=True, slots=True, eq=False)
class Proteins:
    """Genes `ensembl, symbol, gene` (the folder), and rows refused: `row, value, reason`."""

    table: pd.DataFrame
    rejected: pd.DataFrame


def read_proteins(path: Path) -> Proteins:
    """The list of proteins: tab-separated, with the columns `Gene` (Ensembl) and `Gene name`.

    The folder of a gene is its symbol, with `-` for `.`; where two genes would share it, each has
    its Ensembl id behind it. A row with an id or a symbol that is none, or with an id that came
    before, is refused. Raises `DataError` where the file or all its rows are unusable.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)
    except (OSError, ValueError) as error:  # pandas derives its own from ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"cannot read the list of proteins {path}: {reason}") from error
    if not {"Gene", "Gene name"} <= set(table.columns):
        raise DataError(
            f"{path} has the columns {', '.join(map(str, table.columns))}; a list of proteins is "
            f"tab-separated and has Gene and Gene name"
        )
    genes, seen = [], set()
    refused: list[tuple[int, str, str]] = []
    for row, (gene, symbol) in enumerate(
        zip(table["Gene"].str.strip(), table["Gene name"].str.strip(), strict=True), start=1
    ):
        if not _GENE(gene):
            refused.append((row, gene, "it is no Ensembl gene id (ENSG and 11 digits)"))
        elif not _SYMBOL(symbol):
            refused.append((row, symbol, "it is no symbol of a gene"))
        elif gene in seen:
            refused.append((row, gene, "an earlier row has this id"))
        else:
            seen.add(gene)
            genes.append((gene, symbol))
    if not genes:
        raise DataError(f"{path} has no row with an Ensembl gene id and a symbol")
    found = pd.DataFrame(genes, columns=["ensembl", "symbol"])
    folders = [symbol.replace(".", "-") for _, symbol in genes]
    count = Counter(folder.casefold() for folder in folders)  # some disks know no case
    found["gene"] = [
        folder if count[folder.casefold()] == 1 else f"{folder}_{gene}"
        for folder, (gene, _) in zip(folders, genes, strict=True)
    ]
    return Proteins(found, pd.DataFrame(refused, columns=["row", "value", "reason"]))


def read_page(path: Path) -> list[Named]:
    """The images in the human sub-assays of a gene's XML page, each address once.

    Raises `DataError` where it is too big, is no XML, or brings a DOCTYPE: pages of the Atlas have
    none, and entities are how XML is made to eat memory or read other files.
    """
    if path.stat().st_size > PAGE_BYTES:
        raise DataError(f"{path} has more than {PAGE_BYTES} bytes, and is no page of a gene")
    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_NoDoctype())).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path} is no page of a gene: {error}") from error
    found: dict[str, Named] = {}
    for named in _images(root):
        found.setdefault(named.url, named)
    return [*found.values()]


def parse_name(name: str) -> dict[str, str]:
    """The `plate, well, field, tag` and `channels` of an image's name; the tag may be ""."""
    found = _NAME(name)
    if found is None:
        raise DataError(
            f"{name!r} is not named <plate>_<well>_<field>_<channels>.jpg, with or without a tag "
            f"before the channels"
        )
    return {key: value or "" for key, value in found.groupdict().items()}


def download(
    proteins: Path,
    out: Path,
    *,
    site: str = SITE,
    channels: str = CHANNELS,
    leave_out: Collection[str] = OTHER_MARKERS,
    genes: Collection[str] | None = None,
    limit: int | None = None,
    threads: int = 4,
    per_second: float | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Fetch the images of the genes in `proteins`, and return the rows of the manifest of them.

    Pages go to `xml/`, images to `<gene>/` in `out`, and `images.csv` has one row for each image
    that a page names with these `channels`, and one for each gene without any: `status` is
    `fetched`, `failed` (the same call tries again), `refused` or `none`, with the `reason`.
    `group` is `<gene>_<plate>_<well>`, for all names alike. Rows of other genes and channels that
    the manifest had stay. `genes` picks Ensembl ids or symbols, `limit` the first so many genes;
    `leave_out` are the sub-assays to pass over, by subtype. `progress(genes finished, all)`.

    What is there is not fetched again; to have pages anew, delete `xml/`. Raises `DataError` where
    no image could be had, or the disk cannot take more.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit is {limit} genes; give 1 or more")
    if not re.fullmatch("[a-z]+(_[a-z]+)*", channels):
        raise UsageError(f"the channels are {channels!r}; give words such as {CHANNELS}")
    if not re.match("https?://.", site):
        raise UsageError(f"{site!r} is not the address of a site: it must begin with https://")
    chosen = _chosen(read_proteins(proteins).table, genes, proteins)[:limit]
    write_text(out / "LICENCE.txt", LICENCE.format(site=site))
    before = _manifest(out / MANIFEST)
    vouched = {row["path"]: row for row in before.to_dict("records") if row["status"] == "fetched"}
    terms: dict[str, Any] = {"threads": threads, "per_second": per_second, "tries": tries}
    terms |= {"timeout": timeout, "wait": wait, "seed": seed}
    rows: list[dict[str, str]] = []
    for start in range(0, len(chosen), AT_ONCE):
        batch = chosen[start : start + AT_ONCE].to_dict("records")
        pages = [
            Item(url=f"{site.rstrip('/')}/{gene['ensembl']}.xml", path=_page(out, gene))
            for gene in batch
        ]
        _, failed = fetch_all(pages, limit=PAGE_BYTES, **terms)
        reasons = dict(zip(failed["path"], failed["reason"], strict=True))
        new = [
            row
            for gene, page in zip(batch, pages, strict=True)
            for row in _planned(
                gene, page, out, channels, leave_out, reasons.get(str(page.path), "")
            )
        ]
        wanted = [Item(url=row["url"], path=out / row["path"]) for row in new if row["path"]]
        _, failed = fetch_all(wanted, limit=IMAGE_BYTES, **terms)
        reasons = dict(zip(failed["path"], failed["reason"], strict=True))
        rows += [_judged(row, out, reasons.get(str(out / row["path"]), ""), vouched) for row in new]
        _write(out / MANIFEST, before, rows)
        if progress is not None:
            progress(min(start + AT_ONCE, len(chosen)), len(chosen))
    made = pd.DataFrame(rows, columns=[*COLUMNS])
    if not (made["status"] == "fetched").any():
        first = made.iloc[0]
        raise DataError(
            f"no image of {len(chosen)} genes could be had; the first, {first['gene']}: "
            f"{first['reason']}"
        )
    return made


class _NoDoctype(ElementTree.TreeBuilder):
    """The standard library's builder, asked here before expat reads any entity."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it has a DOCTYPE ({name}), and pages of the Atlas have none")


def _images(root: ElementTree.Element) -> Iterator[Named]:
    """In the order of the page; a stack, as a page may be nested deeper than Python can call."""
    stack = [(root, "", "", "", False)]
    while stack:
        element, antibody, cell_line, sub_assay, human = stack.pop()
        tag = element.tag.rpartition("}")[2]
        if tag == "antibody":
            antibody = element.get("id", "")
        elif tag == "subAssay":
            human, sub_assay = element.get("type") == "human", element.get("subtype", "")
        elif tag == "data":
            cell_line = (element.findtext("{*}cellLine") or "").strip()
        elif tag == "imageUrl" and human and (text := (element.text or "").strip()):
            yield Named(url=text, antibody=antibody, cell_line=cell_line, sub_assay=sub_assay)
        stack += [(child, antibody, cell_line, sub_assay, human) for child in reversed(element)]


def _chosen(table: pd.DataFrame, genes: Collection[str] | None, path: Path) -> pd.DataFrame:
    if genes is None:
        return table
    unknown = sorted({*genes} - {*table["ensembl"], *table["symbol"]})
    if unknown:
        raise UsageError(f"{path} has no gene {', '.join(unknown[:5])}")
    return table[table["ensembl"].isin([*genes]) | table["symbol"].isin([*genes])]


def _page(out: Path, gene: dict[Any, Any]) -> Path:
    return out / "xml" / f"{gene['ensembl']}.xml"


def _planned(
    gene: dict[Any, Any],
    page: Item,
    out: Path,
    channels: str,
    leave_out: Collection[str],
    fault: str,
) -> list[dict[str, str]]:
    """The rows of one gene; those with a `path` are to be fetched."""
    empty = dict.fromkeys(COLUMNS, "") | {str(k): str(v) for k, v in gene.items()}
    empty |= {"channels": channels}
    if fault:
        return [empty | {"url": page.url, "status": "failed", "reason": fault}]
    try:
        images = read_page(page.path)
    except DataError as error:
        page.path.unlink()  # so that the next run asks for it again
        return [empty | {"url": page.url, "status": "failed", "reason": str(error)}]
    rows, taken = [], set()
    for image in images:
        url, name = _address(page.url, image.url)
        if channels not in name or image.sub_assay in leave_out:
            continue
        row = empty | {"url": url, "antibody": image.antibody, "cell_line": image.cell_line}
        row |= {"sub_assay": image.sub_assay}
        try:
            facts = parse_name(name)
        except DataError as error:
            rows.append(row | {"status": "refused", "reason": str(error)})
            continue
        if facts["channels"] != channels:
            continue  # as blue_red_green_yellow, whose colours are mixed otherwise
        row |= facts | {"group": f"{gene['gene']}_{facts['plate']}_{facts['well']}"}
        if name in taken:
            reason = "another image of this gene has its name"
            rows.append(row | {"status": "refused", "reason": reason})
            continue
        taken.add(name)
        rows.append(row | {"path": f"{gene['gene']}/{name}"})
    reason = f"its page names no image of {channels} in a human sub-assay"
    return rows or [empty | {"url": page.url, "status": "none", "reason": reason}]


def _address(page: str, text: str) -> tuple[str, str]:
    """The full address of an image, and the name of its file."""
    try:
        url = urljoin(page, text)
        return url, urlsplit(url).path.rpartition("/")[2]
    except ValueError:  # a host in brackets that is none
        return text, text


def _judged(
    row: dict[str, str], out: Path, fault: str, vouched: dict[str, dict[Any, Any]]
) -> dict[str, str]:
    """The row with what became of it: a file that is no whole picture is taken away again."""
    if not row["path"]:
        return row
    path = out / row["path"]
    if fault:
        return row | {"status": "failed", "reason": fault}
    size = str(path.stat().st_size)
    known = vouched.get(row["path"], {})
    if (known.get("url"), known.get("bytes")) == (row["url"], size):
        return row | {"bytes": size, "sha256": known["sha256"], "status": "fetched"}
    if fault := _unreadable(path):
        path.unlink()
        return row | {"status": "failed", "reason": fault}
    return row | {"bytes": size, "sha256": sha256(path), "status": "fetched"}


def _unreadable(path: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["JPEG"]) as image:
                image.load()
    except (
        OSError,
        SyntaxError,
        Image.DecompressionBombWarning,
        Image.DecompressionBombError,
    ) as error:
        return f"it is no whole JPEG: {str(error).replace(str(path), path.name)}"
    return ""


def _manifest(path: Path) -> pd.DataFrame:
    """The rows that the manifest has, all texts; none where there is no manifest."""
    if not path.exists():
        return pd.DataFrame(columns=[*COLUMNS], dtype=str)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the manifest {path}: {error}") from error
    if [*table.columns] != [*COLUMNS]:
        raise DataError(f"{path} is no manifest of this program; give another folder")
    return table


def _write(path: Path, before: pd.DataFrame, rows: list[dict[str, str]]) -> None:
    """The manifest whole: new rows, and those it had of other genes or other channels."""
    new = pd.DataFrame(rows, columns=[*COLUMNS])
    keys = {*zip(new["ensembl"], new["channels"], strict=True)}
    stay = [key not in keys for key in zip(before["ensembl"], before["channels"], strict=True)]
    table = pd.concat([before[pd.Series(stay, dtype=bool, index=before.index)], new])
    write_text(path, table.sort_values(["gene", "channels"], kind="stable").to_csv(index=False))
