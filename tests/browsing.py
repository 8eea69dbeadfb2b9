"""What axe-core says of a page."""


def axe(tab):
    """Return every violation that axe-core finds, whatever its impact."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab, options={"resultTypes": ["violations"]}).response
    assert found["passes"]
    return [(rule["id"], [n["html"][:80] for n in rule["nodes"]]) for rule in found["violations"]]
