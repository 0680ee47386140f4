"""A page opened in a browser, and what a script finds in it."""

import json
import re
import shutil
import subprocess

from attributome.core.files import write_text


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
