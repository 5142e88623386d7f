"""Docstrings as the site reads them: the example of each runs on its own line of code, names of code are code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`<]+)`")


class Docstrings(griffe.Extension):
    """Headings and roles of our docstrings in the words of the site's reader."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object that has been read."""
        if obj.docstring is None:
            return
        text = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
        obj.docstring.value = _ROLE.sub(lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", text)
