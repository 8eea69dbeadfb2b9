"""The built book in a browser: every page, wide and narrow, light and dark, without a network."""

import gzip
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from axe_playwright_python.sync_playwright import Axe

from qmlbook.book import chapters as contents
from qmlbook.book.site import sphinx_light

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = contents.documents(ROOT)
FOUND = "search.html?q=quantum"
PAGES = [f"{document}.html" for document in DOCUMENTS]
PAGES += [FOUND, "genindex.html", "py-modindex.html"]
WIDTHS = {"desktop": 1280, "phone": 390}
# The width at which a page is looked at every time: what has figures on a phone, what is looked up
# on a desk, the first page on both. The other width is a part of the long tail, and so is a page of
# tables or one that a template makes, where another of its kind is looked at every time.
OFTEN = {page: {"desktop"} for page in PAGES}
OFTEN |= {page: set() for page in PAGES if page.startswith("book/api_")}
OFTEN |= {"book/api_evidence.html": {"desktop"}, "genindex.html": set(), "py-modindex.html": set()}
OFTEN |= {f"book/{name}.html": {"phone"} for name in contents.sources(ROOT)}
LIKE_VERDICTS = ("available", "checklists", "data", "editions", "seeds", "sheet", "shootout")
OFTEN |= {f"book/{name}.html": set() for name in LIKE_VERDICTS}
OFTEN[PAGES[0]] = set(WIDTHS)

# A switch of the theme fades in, and what is half faded has no contrast.
AT_ONCE = "* { transition: none !important; animation: none !important }"
# Solutions and hidden code are read as well.
UNFOLD = """() => {
  document.querySelectorAll("article details").forEach((one) => (one.open = true));
  document.querySelectorAll("button.toggle-button-hidden").forEach((button) => button.click());
}"""
# The theme takes its time to see what scrolls.
REACHABLE = """() => [...document.querySelectorAll("article pre")]
    .every((code) => code.scrollWidth <= code.clientWidth || code.tabIndex === 0)"""
# Pixels an inch at which every plot of a page is shown.
DENSITIES = """() => [...document.querySelectorAll(".qmlbook-plot img")].map((image) => {
  const inches = parseFloat(image.style.getPropertyValue("--small")) / %d;
  return image.getBoundingClientRect().width / inches;
})"""
# Contrast takes axe the most time, word by word: the first word of each colour and size on each
# paper tells as much.
MARK = """() => {
  const papers = new Map(), seen = new Set();
  const under = (element) => {
    if (!element) return "";
    if (!papers.has(element)) {
      const colour = getComputedStyle(element).backgroundColor;
      papers.set(element, colour.endsWith(", 0)") ? under(element.parentElement) : colour);
    }
    return papers.get(element);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const word = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !word.checkVisibility()) continue;
    const { color, fontSize, fontWeight, opacity } = getComputedStyle(word);
    const kind = [color, fontSize, fontWeight, opacity, under(word)].join();
    if (!seen.has(kind)) word.dataset.first = "";
    seen.add(kind);
  }
}"""


@pytest.fixture(scope="module")
def show(browser):
    """Return a function that opens a page of the book and listens; nothing else can be reached."""
    contexts = []

    def show(home, page, width="desktop"):
        size = {"width": WIDTHS[width], "height": 800}
        contexts.append(browser.new_context(viewport=size, color_scheme="light"))
        tab = contexts[-1].new_page()
        tab.complaints, tab.strangers = [], []
        contexts[-1].route(lambda url: not url.startswith(home), lambda route: route.abort())

        def asked(request):
            if not request.url.startswith((home, "data:", "blob:")):
                tab.strangers.append(request.url)

        tab.on("request", asked)
        tab.on("console", lambda said: said.type == "error" and tab.complaints.append(said.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("requestfailed", lambda request: tab.complaints.append(request.url))
        tab.on("response", lambda got: got.status >= 400 and tab.complaints.append(got.url))
        tab.goto(f"{home}/{page}", timeout=120_000)
        tab.add_style_tag(content=AT_ONCE)
        tab.evaluate("window.MathJax?.startup.promise.then(() => null)")
        if page == FOUND:
            tab.wait_for_selector("#search-results ul.search li a", timeout=60_000)
        return tab

    yield show
    for context in contexts:
        context.close()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (width, page),
            id=f"{width}-{page}",
            marks=[pytest.mark.nightly] * (width not in OFTEN[page]),
        )
        for width in WIDTHS
        for page in PAGES
    ],
)
def tab(show, site, html, request):
    """Return each page in turn: wide from a server, narrow from its file."""
    width, page = request.param
    tab = show(html.as_uri() if width == "phone" else site, page, width)
    yield tab
    tab.close()


def theme(width, crossed=False):
    """Return the theme in which a width is looked at; ``crossed`` is the other pair."""
    return "light" if (width == "desktop") != crossed else "dark"


def accessible(tab, mode, every_word=False):
    """Assert that axe-core finds nothing on a page, all of it unfolded."""
    tab.evaluate(UNFOLD)
    tab.wait_for_function(REACHABLE)
    assert findings(tab, mode, every_word) == []


def findings(tab, mode, every_word=False):
    """Return what axe-core finds serious or critical in one theme."""
    tab.emulate_media(color_scheme=mode)
    tab.wait_for_function("mode => document.documentElement.dataset.theme === mode", arg=mode)
    tab.evaluate(MARK)
    contrast = "color-contrast"
    found = axe(tab, {} if every_word else {"include": ["[data-first]"]}, runOnly=[contrast])
    return found + axe(tab, {}, rules={contrast: {"enabled": False}})


def axe(tab, context, **options):
    # Without a preload axe does not ask the server for style sheets it looks for at wrong places.
    options |= {"resultTypes": ["violations"], "preload": False}
    result = Axe().run(tab, context=context or None, options=options).response
    assert result["passes"], "axe looked at nothing"
    return [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def complete(tab):
    """Assert that a page shows all it has, without a complaint and on its own."""
    assert tab.strangers == []
    assert tab.complaints == []
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert tab.evaluate(broken) == []
    written = tab.locator("article .math").count()
    assert tab.locator("article .math mjx-container > svg").count() == written
    assert tab.locator("article mjx-merror, article [data-mml-node=merror]").count() == 0


def test_pages_are_complete_on_their_own(tab):
    complete(tab)


def test_pages_fit_the_screen(tab):
    width = tab.viewport_size["width"]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = """width => [...document.querySelectorAll("article img, article table, article pre")]
        .filter(element => element.getBoundingClientRect().width > width
                && !element.closest(".pst-scrollable-table-container, .cell_output"))
        .map(element => element.outerHTML.slice(0, 80))"""
    assert tab.evaluate(too_wide, width) == []


def test_labels_of_plots_are_nine_pixels_high(tab, request):
    _, page = request.node.callspec.params["tab"]
    tab.evaluate(UNFOLD)
    shown = [one for one in tab.evaluate(DENSITIES % sphinx_light.SMALL) if one]
    source = ROOT / "book" / f"{Path(page).stem}.md"
    text = source.read_text("utf-8") if source.is_file() else ""
    points = min([10, *map(int, re.findall(r"fontsize=(\d+)", text))])
    assert min(shown, default=72) * points / 72 >= 9
    assert tab.evaluate("document.documentElement.scrollWidth") <= tab.viewport_size["width"]
    scrolled = tab.locator(".qmlbook-plot:visible").evaluate_all(
        "all => all.every((plot) => plot.scrollWidth <= plot.clientWidth || plot.tabIndex === 0)"
    )
    assert scrolled


def test_pages_are_accessible(tab, request):
    width, _ = request.node.callspec.params["tab"]
    accessible(tab, theme(width))


def test_figures_keep_white_paper_in_the_dark(tab):
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    papers = """[...new Set([...document.querySelectorAll(".cell_output img")]
        .map((image) => getComputedStyle(image).backgroundColor))]"""
    assert tab.evaluate(papers) in ([], ["rgb(255, 255, 255)"])


LIVE = {
    "builder": "circuits",
    "training": "klssl",
    "studies": "evidence",
    "walk": "qdeq",
    "tokens": "contextuality",
    "steps": "c2q",
    "form": "c2q",
    "checkpoints": "qssl",
    "shots": "qssl",
}


def test_live_figures_run_in_their_chapters(tab, request):
    _, page = request.node.callspec.params["tab"]
    for kind in [kind for kind, name in LIVE.items() if page == f"book/{name}.html"]:
        figure = tab.locator(f".qmlbook-live[data-kind={kind}]")
        assert figure.locator("[role=group]").is_visible()
        assert not figure.locator("> img").is_visible()
        assert figure.get_by_role("status").inner_text()
        question = "figure => figure.closest('.cell').previousElementSibling.textContent"
        assert "?" in figure.evaluate(question)
        answer = "figure => figure.closest('.cell').nextElementSibling.textContent"
        assert "What you should have seen" in figure.evaluate(answer)


def test_no_page_of_the_book_is_forgotten(html):
    built = {path.relative_to(html).as_posix() for path in html.rglob("*.html")}
    built = {name for name in built if not name.startswith("_static/")}
    looked_at = {page.partition("?")[0] for page in PAGES}
    assert built - looked_at == {"index.html"}  # leads on to the first page
    assert looked_at <= built


@pytest.mark.nightly
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_complete_and_accessible_the_other_way_round(show, site, html, page, width):
    """Narrow from the server and wide from its file, each in the other theme, word by word."""
    tab = show(site if width == "phone" else html.as_uri(), page, width)
    complete(tab)
    accessible(tab, theme(width, crossed=True), every_word=True)
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_light_and_dark(show, site, width):
    tab = show(site, PAGES[0], width)
    paper = {}
    for _ in range(4):
        tab.locator(".theme-switch-button:visible").first.click()
        theme = tab.evaluate("document.documentElement.dataset.theme")
        paper[theme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper.keys() == {"light", "dark"}
    assert paper["light"] != paper["dark"]
    assert tab.complaints == []


def test_the_contents_open_on_a_phone_and_are_accessible(show, site):
    tab = show(site, PAGES[0], "phone")
    contents = tab.locator("nav.bd-links").last
    assert not contents.is_visible()
    tab.locator(".primary-toggle:visible").click()
    contents.wait_for(state="visible")
    assert findings(tab, "light") == []
    assert findings(tab, "dark") == []
    contents.get_by_role("link").nth(1).click()
    tab.wait_for_url(f"**/{PAGES[1]}")
    assert tab.complaints == []


# --- cards, sizes ---


def test_a_link_has_a_card_by_keyboard_and_pointer(show, html):
    tab = show(html.as_uri(), "book/qssl.html")
    card = tab.get_by_role("tooltip")
    door = tab.locator('a[href="verdicts.html#qssl-C6"]').first
    tab.keyboard.press("Tab")
    door.focus()
    card.wait_for()
    assert "C6" in card.inner_text()
    assert "controls:" in card.inner_text()
    assert door.get_attribute("aria-describedby") == card.get_attribute("id")
    tab.keyboard.press("Escape")
    assert card.count() == 0
    assert not door.get_attribute("aria-describedby")
    term = tab.locator('a[href^="glossary.html#term-"]').first
    term.hover()
    card.wait_for()
    assert card.inner_text().strip()
    card.hover()  # and it stays
    tab.wait_for_timeout(400)
    assert card.is_visible()
    tab.mouse.move(0, 0)
    card.wait_for(state="hidden")
    for address, part in (("#fig-c2q-plane", "img"), ("references.html", "")):
        tab = show(html.as_uri(), "book/c2q.html", "phone")
        tab.keyboard.press("Tab")
        tab.locator(f'a[href^="{address}"][data-title], a[href="{address}"]').last.focus()
        card = tab.get_by_role("tooltip")
        card.wait_for()
        assert card.locator(part).count() if part else card.inner_text()
        box = card.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= WIDTHS["phone"]
        assert card.locator("[id]").count() == 0
    assert tab.complaints == []


def test_a_row_is_found_by_its_address_without_scripts(browser, html):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{html.as_uri()}/book/qssl.html")
    tab.locator('a[href="verdicts.html#qssl-C6"]').first.click()
    tab.wait_for_url("**/verdicts.html#qssl-C6")
    row = tab.locator("tr", has=tab.locator("[id='qssl-C6']"))
    assert "C6" in row.inner_text()
    assert row.is_visible()
    context.close()


def weight(browser, html, page):
    """Return the bytes of a first visit on a phone, text compressed as hosts send it."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    tab, asked = context.new_page(), set()
    tab.on("request", lambda request: asked.add(request.url))
    tab.goto(f"{html.as_uri()}/{page}")
    tab.wait_for_load_state("networkidle")
    # How far ahead pictures are loaded depends on what the browser thinks of the connection: this
    # is the distance on a fast one.
    asked -= set(
        tab.evaluate("""() => [...document.images].map((image) => [image, image.closest("details")])
            .filter(([image, closed]) => (closed && !closed.open)
                || image.getBoundingClientRect().top > innerHeight + 1250)
            .map(([image]) => image.src)""")
    )
    context.close()
    total = 0
    for url in asked:
        if url.startswith("file:"):
            file = Path(url2pathname(urlsplit(url).path))
            content = file.read_bytes()
            packed = file.suffix in {".html", ".css", ".js", ".svg"}
            total += len(gzip.compress(content) if packed else content)
    return total


HEAVY = ["book/intro.html", "book/c2q.html", "book/verdicts.html"]


@pytest.mark.parametrize(
    "page",
    [
        page if page in HEAVY else pytest.param(page, marks=pytest.mark.nightly)
        for page in PAGES
        if page.startswith("book/")
    ],
)
def test_a_first_visit_loads_less_than_a_megabyte(browser, html, page):
    assert weight(browser, html, page) < 1_000_000
