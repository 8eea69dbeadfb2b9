"""From Markdown to pages: run the chapters, compare them, build the site, print and teach it."""
