"""Sphinx's configuration."""

import os

project = "django-crossdb-integrity"
author = "the authors of django-crossdb-integrity"
extensions = ["myst_parser"]
smartquotes = False  # quoted text is often code
html_theme = "furo"
html_title = project
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")  # where it is hosted, if it is
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False
# Links such as policies.md#set_null work here as they do on a code host.
myst_heading_anchors = 4
