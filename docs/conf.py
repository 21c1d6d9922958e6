"""Configuration of Sphinx. ``make docs`` writes HTML to build/docs and fails at a warning."""

from setun import __version__


project, release, copyright = "Setun", __version__, "its authors, BSD-2-Clause"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_custom_sections = [("Members", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "fixed_sidebar": True}


def end_sections(app, what, name, obj, options, lines):
    """Part paragraphs by two lines, where napoleon ends a section: "Raises ..." behind Parameters is none of them."""
    for index in reversed(range(1, len(lines))):
        if not lines[index - 1] and lines[index][:1].strip():
            lines.insert(index, "")


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", end_sections, priority=100)  # before napoleon
