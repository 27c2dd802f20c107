"""Sphinx: MyST Markdown in the furo theme. `make docs` builds it, and warnings are errors."""

from importlib.metadata import version as installed

project = "ebaysync"
author = "the ebaysync contributors"
version = release = installed("ebaysync")
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"ebaysync {release}"
html_show_copyright = False
exclude_patterns = ["_build"]
