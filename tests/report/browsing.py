"""A page opened in a browser, and what a script finds in it."""

import json
import re
import shutil
import subprocess

from attributome.core.files import write_text

WIDTH = "return document.documentElement.scrollWidth"
OUTSIDE = """
const out = [];
for (const chart of document.querySelectorAll("svg.chart:not(.tree)")) {
  const box = chart.getBoundingClientRect();
  if (!box.width) continue;
  for (const text of chart.querySelectorAll("text")) {
    const own = text.getBoundingClientRect();
    if (own.left < box.left - 2 || own.right > box.right + 2) out.push(text.textContent);
  }
}
"""
"""Words that leave their chart, as `out`; a tree's stand beside it on purpose."""
CHOSEN = """
const panel = document.querySelector("[data-map=%s]");
const select = panel.querySelector("select");
const shown = () => panel.querySelectorAll("path.chosen").length;
const found = [select.closest("label").hidden, select.options.length, shown()];
select.value = "3";
select.dispatchEvent(new Event("input"));
const path = panel.querySelector("path.chosen");
found.push(shown(), path.dataset.name, path === panel.querySelector("svg").lastElementChild);
select.value = "";
select.dispatchEvent(new Event("input"));
found.push(shown(), panel.classList.contains("one"));
return found;
"""
"""Looks for one name in a map of points, and lets it go again."""


def asked(page, folder, script, *, fragment="", width=1400):
    """What a script finds in a page that is open in a browser of this width."""
    browser = shutil.which("chromium")
    assert browser, "this test needs a Chromium on the PATH"
    code = page.read_text(encoding="utf-8")
    code = re.sub(r"<meta http-equiv[^>]*>", "", code)
    post = f"parent.postMessage(JSON.stringify((() => {{ {script} }})()), '*')"
    write_text(folder / "copy.html", f"{code}<script>setTimeout(() => {post}, 200)</script>")
    size = f"border:0;width:{width}px;height:900px"
    frame = f'<iframe src="copy.html{fragment}" style="{size}"></iframe>'
    listen = "onmessage = e => document.body.dataset.found = e.data"
    write_text(folder / "frame.html", f"<body><script>{listen}</script>{frame}</body>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    options += ["--virtual-time-budget=8000", "--window-size=1500,1000"]
    options += [f"--user-data-dir={folder / 'profile'}", (folder / "frame.html").as_uri()]
    said = subprocess.run([browser, *options], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-found="([^"]*)"', said.stdout)
    assert found, said.stderr[-800:]
    return json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&"))
