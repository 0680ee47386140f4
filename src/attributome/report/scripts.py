"""Scripts and data that lie in the page itself, and cannot end an element or be exchanged."""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from markupsafe import Markup


def embedded(value: Any) -> Markup:
    """JSON that can stand in a script element: no character of it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def allowed(code: str) -> str:
    """What the content security policy calls a script: only this very text runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}"


def source(name: str) -> str:
    """A script or a style sheet that lies beside the templates."""
    return (
        resources.files("attributome.report")
        .joinpath("templates", name)
        .read_text(encoding="utf-8")
    )
