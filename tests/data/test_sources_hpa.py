"""A small Human Protein Atlas in this process: pages, rendered images, and all that goes wrong."""

import hashlib
import io
import os
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attributome.core.errors import DataError, UsageError
from attributome.data.sources import hpa
from attributome.data.sources.hpa import download, parse_name, read_page, read_proteins
from data.atlas_server import Atlas

QUICK = {"wait": 0.0, "timeout": 10.0}
A, B, C, D, E = (f"ENSG{n:011d}" for n in range(1, 6))
GENES = [(A, "A1CF"), (B, "A.4"), (C, "SCO2"), (D, "Sco2"), (E, "NONE1")]


def picture(seed):
    """A JPEG of noise, 48 x 32."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def image(url, tag="imageUrl"):
    return f"<assayImage><image imageType='selected'><{tag}>{url}</{tag}></image></assayImage>"


def assay(*urls, kind="human", more="", line="U-2 OS"):
    inside = "".join(map(image, urls))
    data = f"<data><cellLine>{line}</cellLine>{inside}</data>"
    return f'<cellExpression><subAssay type="{kind}"{more}>{data}</subAssay></cellExpression>'


def page(*antibodies, outside=""):
    parts = "".join(f'<antibody id="{name}">{body}</antibody>' for name, body in antibodies)
    return f'<?xml version="1.0"?><proteinAtlas><entry>{outside}{parts}</entry></proteinAtlas>'


def listed(folder, genes=GENES):
    path = folder / "proteinlist.txt"
    lines = ["Gene\tGene name", *("\t".join(gene) for gene in genes)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def atlas(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Atlas() as server:
        fill(server)
        yield server


def fill(server):
    """Five genes: two antibodies and both generations of names; a shared symbol; none; a ruin."""
    names = {
        A: ["762_F2_1_blue_red_green", "762_F2_2_blue_red_green"],
        B: ["1645_H1_6_cr57b5683c9a8ca_blue_red_green"],
        C: ["10_A1_1_blue_red_green"],
        D: ["10_A1_1_blue_red_green"],
    }
    for n, (gene, images) in enumerate(names.items()):
        urls = [
            server.put(f"/{n}/{name}.jpg", picture(10 * n + i)) for i, name in enumerate(images)
        ]
        other = urls[0].replace("_green.jpg", "_green_yellow.jpg")
        single = urls[0].replace("_red_green.jpg", ".jpg")
        first = assay(urls[0], other, single)
        second = assay(*urls[1:], line="A-431") + assay(f"{server.site}/m.jpg", kind="mouse")
        body = page(
            ("HPA01", first), ("CAB02", second), outside=image(urls[0].replace("1_b", "9_b"))
        )
        server.put(f"/{gene}.xml", body.encode())
    server.put(f"/{E}.xml", page().encode())


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_from_a_list_to_images_and_a_manifest(atlas, tmp_path):
    seen = []
    out = tmp_path / "out"
    words = {**QUICK, "progress": lambda *at: seen.append(at), "site": atlas.site + "/"}
    made = download(listed(tmp_path), out, **words)
    assert made["path"].tolist() == [
        "A1CF/762_F2_1_blue_red_green.jpg",
        "A1CF/762_F2_2_blue_red_green.jpg",
        "A-4/1645_H1_6_cr57b5683c9a8ca_blue_red_green.jpg",
        f"SCO2_{C}/10_A1_1_blue_red_green.jpg",
        f"Sco2_{D}/10_A1_1_blue_red_green.jpg",
        "",
    ]
    assert made["status"].tolist() == ["fetched"] * 5 + ["none"]
    names = ["ensembl", "symbol", "antibody", "cell_line", "plate", "well", "field", "tag", "group"]
    assert made[names].to_numpy().tolist()[:4] == [
        [A, "A1CF", "HPA01", "U-2 OS", "762", "F2", "1", "", "A1CF_762_F2"],
        [A, "A1CF", "CAB02", "A-431", "762", "F2", "2", "", "A1CF_762_F2"],
        [B, "A.4", "HPA01", "U-2 OS", "1645", "H1", "6", "cr57b5683c9a8ca", "A-4_1645_H1"],
        [C, "SCO2", "HPA01", "U-2 OS", "10", "A1", "1", "", f"SCO2_{C}_10_A1"],
    ]
    for _, row in made.iloc[:5].iterrows():
        body = atlas.things[row["url"].removeprefix(atlas.site)].body
        assert (out / row["path"]).read_bytes() == body
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(body).hexdigest(), str(len(body)))
    assert seen == [(5, 5)]
    stored = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(
        stored, made.sort_values("gene", kind="stable", ignore_index=True), check_dtype=False
    )
    assert "CC BY-SA 4.0" in (out / "LICENCE.txt").read_text()
    assert len(atlas.asked) == 10
    before = files(out)
    again = download(listed(tmp_path), out, **words)
    assert len(atlas.asked) == 10
    assert files(out) == before
    pd.testing.assert_frame_equal(made, again)


def test_faults_on_the_way_change_nothing(atlas, tmp_path):
    download(listed(tmp_path), tmp_path / "quiet", site=atlas.site, **QUICK)
    for i, thing in enumerate(atlas.things.values()):
        thing.faults = [["drop"], ["short", "500"], ["429", "drop"], []][i % 4]
        thing.ranges = i % 3 != 0
    asked = len(atlas.asked)
    download(listed(tmp_path), tmp_path / "loud", site=atlas.site, **QUICK)
    assert len(atlas.asked) > 1.5 * asked
    assert files(tmp_path / "loud") == files(tmp_path / "quiet")


def test_what_fails_is_listed_and_tried_again_next_time(atlas, tmp_path):
    out, genes = tmp_path / "out", listed(tmp_path)
    gone = atlas.things.pop(f"/{B}.xml")
    atlas.things[f"/{C}.xml"].body = b"<!DOCTYPE html><html></html>"
    ruin = atlas.things["/0/762_F2_1_blue_red_green.jpg"]
    whole, ruin.body = ruin.body, ruin.body[:-300]
    lost = atlas.things.pop("/3/10_A1_1_blue_red_green.jpg")
    made = download(genes, out, site=atlas.site, **QUICK)
    assert made["status"].tolist() == ["failed", "fetched", "failed", "failed", "failed", "none"]
    for reason, word in zip(
        made["reason"],
        ["no whole JPEG", "^$", f"{B}.xml answers 404", "has a DOCTYPE", "answers 404", "no image"],
        strict=True,
    ):
        assert re.search(word, reason)
    assert not (out / "A1CF/762_F2_1_blue_red_green.jpg").exists()
    atlas.things[f"/{B}.xml"], atlas.things["/3/10_A1_1_blue_red_green.jpg"] = gone, lost
    ruin.body = whole
    fill(atlas)
    download(genes, out, site=atlas.site, **QUICK)
    download(genes, tmp_path / "quiet", site=atlas.site, **QUICK)
    assert files(out) == files(tmp_path / "quiet")


def test_a_killed_download_ends_like_a_quiet_one(atlas, tmp_path):
    genes = listed(tmp_path)
    download(genes, tmp_path / "quiet", site=atlas.site, **QUICK)
    thing = atlas.things["/2/10_A1_1_blue_red_green.jpg"]
    at = thing.stall_at = len(thing.body) // 3
    code = (
        "from pathlib import Path\n"
        "from attributome.data.sources.hpa import download\n"
        f"download(Path('proteinlist.txt'), Path('out'), site={atlas.site!r}, threads=1,"
        " tries=10**6, timeout=0.1, wait=0.01)\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    )
    part = tmp_path / "out" / f"SCO2_{C}" / ".10_A1_1_blue_red_green.jpg.part"
    while not part.exists() or part.stat().st_size < at:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.kill()
    process.communicate()
    thing.stall_at = None
    atlas.asked.clear()
    download(genes, tmp_path / "out", site=atlas.site, **QUICK)
    assert sorted(atlas.asked, key=str) == [
        ("/2/10_A1_1_blue_red_green.jpg", f"bytes={at}-"),
        ("/3/10_A1_1_blue_red_green.jpg", None),
    ]
    assert files(tmp_path / "out") == files(tmp_path / "quiet")


def test_a_few_genes_and_later_others(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(hpa, "AT_ONCE", 1)  # a manifest after each gene
    genes, out, seen = listed(tmp_path), tmp_path / "out", []
    words = {"site": atlas.site, **QUICK}
    first = download(genes, out, limit=1, **words)
    assert set(first["ensembl"]) == {A}
    second = download(genes, out, genes=["SCO2", B], progress=lambda *at: seen.append(at), **words)
    assert (second["ensembl"].tolist(), seen) == ([B, C], [(1, 2), (2, 2)])
    # the folder is that of the whole list, or another choice would put two genes together
    assert second["gene"].tolist() == ["A-4", f"SCO2_{C}"]
    yellow = atlas.site + "/0/762_F2_1_blue_red_green_yellow.jpg"
    atlas.put(yellow.removeprefix(atlas.site), picture(99))
    third = download(genes, out, genes=[A], channels="blue_red_green_yellow", **words)
    assert third["url"].tolist() == [yellow]
    stored = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    assert sorted(stored["path"]) == sorted([*first["path"], *second["path"], *third["path"]])


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ({"limit": 0}, UsageError, "the limit is 0 genes"),
        ({"genes": ["TP53"]}, UsageError, "has no gene TP53"),
        ({"channels": "blue/red"}, UsageError, "the channels are 'blue/red'"),
        ({"site": "file:///a"}, UsageError, "is not the address of a site"),
        ({"genes": [E]}, DataError, "no image of 1 genes could be had; the first, NONE1: its page"),
    ],
)
def test_what_cannot_be_meant_or_had_is_refused(atlas, tmp_path, words, kind, message):
    with pytest.raises(kind, match=message):
        download(listed(tmp_path), tmp_path / "out", **{"site": atlas.site, **QUICK, **words})


def test_a_foreign_manifest_is_not_written_over(atlas, tmp_path):
    (tmp_path / "images.csv").write_text("image\na.png\n")
    with pytest.raises(DataError, match=r"images\.csv is no manifest of this program"):
        download(listed(tmp_path), tmp_path, site=atlas.site, **QUICK)
    assert (tmp_path / "images.csv").read_text() == "image\na.png\n"


def test_addresses_that_a_page_may_not_name(atlas, tmp_path):
    """Other schemes are not followed, names cannot leave the folder, a name is taken once."""
    name = "762_F2_1_blue_red_green.jpg"
    secret = tmp_path / name
    secret.write_bytes(picture(0))
    good = atlas.put(f"/x/{name}", picture(1))
    urls = [
        good,
        good,
        secret.as_uri().replace("1_blue", "2_blue"),
        secret.as_uri(),
        f"{atlas.site}/..%2F762_F2_3_blue_red_green.jpg",
        f"{atlas.site}/762_F2_blue_red_green.jpg",
        "http://[762_F2_4_blue_red_green.jpg",
        "/x/" + name.replace("F2_1", "F2_5"),
    ]
    atlas.put(urls[-1], picture(2))
    atlas.put(f"/{A}.xml", page(("H", assay(*urls))).encode())
    made = download(listed(tmp_path), tmp_path / "out", genes=[A], site=atlas.site, **QUICK)
    words = ["", "not an address", "has its name", "not named", "not named", "not named", ""]
    assert [w in reason for w, reason in zip(words, made["reason"], strict=True)] == [True] * 7
    assert made["status"].tolist() == ["fetched", "failed", *["refused"] * 4, "fetched"]
    assert {path.name for path in (tmp_path / "out").rglob("*.jpg")} == {
        name,
        name.replace("F2_1", "F2_5"),
    }


def write(folder, text):
    path = folder / "page.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_images_of_human_sub_assays_with_what_is_said_of_them(tmp_path):
    body = page(
        (
            "HPA1",
            assay("u1", "u2") + assay("u3", kind="mouse") + assay("u4", kind="human", line=""),
        ),
        ("HPA2", assay("u5", more=' subtype="ciliated cell lines"') + assay("u1")),
        outside=image("u6") + assay("u7"),
    ).replace("<proteinAtlas>", '<proteinAtlas xmlns="http://example.org/atlas">')
    found = [
        (n.url, n.antibody, n.cell_line, n.sub_assay) for n in read_page(write(tmp_path, body))
    ]
    assert found == [
        ("u7", "", "U-2 OS", ""),
        ("u1", "HPA1", "U-2 OS", ""),
        ("u2", "HPA1", "U-2 OS", ""),
        ("u4", "HPA1", "", ""),
        ("u5", "HPA2", "U-2 OS", "ciliated cell lines"),
    ]


def test_other_markers_are_left_out_unless_they_are_asked_for(atlas, tmp_path):
    url = atlas.put("/c/2146_D7_42_blue_red_green.jpg", picture(5))
    body = page(("H", assay(url, more=' subtype="ciliated cell lines"')))
    atlas.put(f"/{A}.xml", body.encode())
    words = {"genes": [A], "site": atlas.site, **QUICK}
    with pytest.raises(DataError, match="names no image of blue_red_green"):
        download(listed(tmp_path), tmp_path / "out", **words)
    made = download(listed(tmp_path), tmp_path / "out", leave_out=(), **words)
    assert made[["url", "sub_assay"]].to_numpy().tolist() == [[url, "ciliated cell lines"]]


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS + "]><a>&i;</a>", "has a DOCTYPE"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "secret">]><a>&x;</a>', "has a DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "other.dtd"><a/>', "has a DOCTYPE"),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"), "a DOCTYPE"),
        ("<a>&x;</a>", "is no page of a gene: undefined entity"),
        ("<a><b></a>", "is no page of a gene: mismatched tag"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "is no page of a gene: unknown encoding"),
        ("", "is no page of a gene: no element"),
        (b"\xff\xd8\xff\xe0", "is no page of a gene"),
    ],
)
def test_a_page_that_is_none_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_page(write(tmp_path, text))


def test_a_page_without_measure_is_refused_and_a_deep_one_is_read(tmp_path):
    deep = "<a>" * 50_000 + assay("u") + "</a>" * 50_000
    assert [named.url for named in read_page(write(tmp_path, deep))] == ["u"]
    with (tmp_path / "big.xml").open("wb") as handle:
        handle.truncate(hpa.PAGE_BYTES + 1)
    with pytest.raises(DataError, match="has more than 134217728 bytes"):
        read_page(tmp_path / "big.xml")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("762_F2_1_blue_red_green.jpg", ("762", "F2", "1", "", "blue_red_green")),
        (
            "1645_H1_6_cr57b5683c9a8ca_blue_red_green.jpg",
            ("1645", "H1", "6", "cr57b5683c9a8ca", "blue_red_green"),
        ),
        ("2145_E8_56_blue.jpeg", ("2145", "E8", "56", "", "blue")),
        ("284_AB12_10_red_green.jpg", ("284", "AB12", "10", "", "red_green")),
    ],
)
def test_both_generations_of_names(name, facts):
    assert tuple(parse_name(name).values()) == facts


@pytest.mark.parametrize(
    "name", ["", "762_F2_blue.jpg", "762_F2_1_blue.tif", "../762_F2_1_blue.jpg", "a_F2_1_blue.jpg"]
)
def test_other_names_are_refused(name):
    with pytest.raises(DataError, match="is not named <plate>_<well>_<field>_<channels>"):
        parse_name(name)


def test_a_list_of_proteins(tmp_path):
    rows = [(A, "BTBD8"), (B, "btbd8"), (C, "A.1"), (D, "A-1"), (E, '"Q'), ("ENSG1", "X")]
    rows += [(A, "AGAIN"), (E, "../up"), (E, "NA")]
    found = read_proteins(listed(tmp_path, rows))
    assert found.table.to_numpy().tolist() == [
        [A, "BTBD8", f"BTBD8_{A}"],
        [B, "btbd8", f"btbd8_{B}"],
        [C, "A.1", f"A-1_{C}"],
        [D, "A-1", f"A-1_{D}"],
        [E, "NA", "NA"],
    ]
    assert found.rejected["row"].tolist() == [5, 6, 7, 8]
    assert found.rejected["reason"].str.contains("symbol|Ensembl|earlier").all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the list of proteins .*: No such file"),
        ("", "cannot read the list of proteins"),
        ("Gene,Gene name\n", "has the columns Gene,Gene name; a list of proteins is"),
        ("Gene\tGene name\nx\ty\n", "has no row with an Ensembl gene id"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "list.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_proteins(path)
