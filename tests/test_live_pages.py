"""Live figures in the built pages: seen by those who use a keyboard, a finger, or paper."""

import re

import pytest
from test_browser import LIVE

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

KINDS = LIVE | {"seeds": "seeds", "verdicts": "verdicts", "signs": "contextuality"}
CONTROLS = ":is(button, select, input, textarea):visible:not([disabled])"
# What the theme draws over a page for a moment.
NOTHING_ABOVE = "#pst-back-to-top { display: none !important }"

# How far something reaches out of what clips it, in pixels.
OUTSIDE = """const outside = (element, rect) => {
  let most = 0;
  for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
    const look = getComputedStyle(box), clip = box.getBoundingClientRect();
    if (look.overflowX !== "visible")
      most = Math.max(most, clip.left - rect.left, rect.right - clip.right);
    if (look.overflowY !== "visible")
      most = Math.max(most, clip.top - rect.top, rect.bottom - clip.bottom);
  }
  return most;
};"""
RING = f"""(element) => {{
  {OUTSIDE}
  const look = getComputedStyle(element), rect = element.getBoundingClientRect();
  const far = parseFloat(look.outlineWidth) + parseFloat(look.outlineOffset);
  let paper = element.parentElement;
  const clear = (one) => getComputedStyle(one).backgroundColor.endsWith(", 0)");
  while (paper && clear(paper)) paper = paper.parentElement;
  return {{
    style: look.outlineStyle, width: parseFloat(look.outlineWidth), colour: look.outlineColor,
    paper: paper ? getComputedStyle(paper).backgroundColor : "rgb(255, 255, 255)",
    outside: outside(element, {{ left: rect.left - far, right: rect.right + far,
      top: rect.top - far, bottom: rect.bottom + far }}),
  }};
}}"""
LABELS = f"""(figure) => {{
  {OUTSIDE}
  return [...figure.querySelectorAll("svg text")].map((text) => {{
    const scale = Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b);
    return [text.textContent, outside(text, text.getBoundingClientRect()),
      scale * parseFloat(getComputedStyle(text).fontSize)];
  }});
}}"""


@pytest.fixture
def opened(browser, html):
    """Return a function that opens the page of a kind and returns the tab and the figure."""
    contexts = []

    def opened(kind, width=390, theme="light", **options):
        size = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=size, color_scheme=theme, **options))
        tab = contexts[-1].new_page()
        tab.goto(f"{html.as_uri()}/book/{KINDS[kind]}.html")
        tab.add_style_tag(content=NOTHING_ABOVE)
        signs = kind == "signs"
        figure = tab.locator(".qmlbook-signs" if signs else f".qmlbook-live[data-kind={kind}]")
        figure.locator(CONTROLS).first.wait_for()
        return tab, figure

    yield opened
    for context in contexts:
        context.close()


def luminance(colour):
    """Return how light an opaque colour is, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# --- by keyboard ---


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", KINDS)
def test_the_focus_is_seen_on_every_control(opened, kind, width, theme):
    tab, figure = opened(kind, width, theme)
    tab.keyboard.press("Tab")  # from now on the browser shows the focus
    for control in figure.locator(CONTROLS).all()[:12]:
        control.focus()
        ring = control.evaluate(RING)
        assert ring["style"] == "solid"
        assert ring["width"] >= 2
        assert contrast(ring["colour"], ring["paper"]) >= 3, ring
        assert ring["outside"] <= 0.5, control.evaluate("control => control.outerHTML")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", LIVE)
def test_no_label_of_a_figure_is_cut_off_or_too_small(opened, kind, width):
    _, figure = opened(kind, width)
    if kind == "builder":  # as many gates as it takes
        add = figure.get_by_role("button", name="add")
        while add.is_enabled():
            add.click()
    for words, outside, pixels in figure.evaluate(LABELS):
        assert outside <= 0.5, words
        assert pixels >= 9, words


# --- by touch ---


def drag(tab, slider):
    """Move the thumb of a slider by a finger, from where it is to the farther end."""
    slider.scroll_into_view_if_needed()
    at, box = slider.evaluate("s => (s.value - s.min) / (s.max - s.min)"), slider.bounding_box()
    width, y = box["width"] - 16, box["y"] + box["height"] / 2
    start, to = (box["x"] + 8 + share * width for share in (at, 0.95 if at < 0.5 else 0.05))
    finger = tab.context.new_cdp_session(tab)
    for step in range(6):
        points = [{"x": start + step / 5 * (to - start), "y": y}]
        kind = "touchMove" if step else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    finger.detach()


TOUCH = {"has_touch": True, "is_mobile": True}
# Whether anything changes: what an answer ends with may be what was there before it.
WATCHED = """part => {
  window.answered = false;
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(() => (window.answered = true)).observe(part, all);
}"""


@pytest.mark.parametrize("kind", LIVE | {"seeds": "seeds"})
def test_sliders_follow_a_finger_and_buttons_answer_it(opened, kind):
    tab, figure = opened(kind, **TOUCH)
    part, moved, pressed = figure.locator("[role=group]"), 0, 0
    for slider in part.get_by_role("slider").all():
        before, said = slider.input_value(), slider.get_attribute("aria-valuetext")
        drag(tab, slider)
        assert slider.input_value() != before
        assert slider.get_attribute("aria-valuetext") != said
        moved += 1
    names = part.locator("button:visible").evaluate_all(
        "all => all.map((one) => one.ariaLabel ?? one.textContent)"
    )
    for name in names:
        one = part.get_by_role("button", name=name, exact=True)
        if not one.count() or one.is_disabled():
            continue  # what was pressed before has taken it away
        part.evaluate(WATCHED)
        one.tap()
        tab.wait_for_function("window.answered")
        pressed += 1
    assert moved + pressed > 0
    assert tab.evaluate("[scrollX, visualViewport.scale]") == [0, 1], "the page itself has moved"


def test_a_walk_begins_where_a_finger_says(opened):
    _, figure = opened("walk", **TOUCH)
    status, plane = figure.get_by_role("status"), figure.get_by_role("img").first
    before, box = status.inner_text(), plane.bounding_box()
    plane.tap(position={"x": 0.8 * box["width"], "y": 0.3 * box["height"]})
    assert status.inner_text() != before


def test_a_sign_changes_under_a_finger(opened):
    _, table = opened("signs", **TOUCH)
    sign = table.locator("[data-cell] button").first
    before = sign.get_attribute("data-sign")
    sign.tap()
    assert sign.get_attribute("data-sign") != before


def test_a_row_is_opened_read_to_its_end_and_closed_by_touch(opened):
    tab, figure = opened("verdicts", **TOUCH)
    row = figure.locator("li[id='qssl-C6']")
    head = row.locator("> button")
    head.tap()
    assert head.get_attribute("aria-expanded") == "true"
    # all of it is on the page itself: nothing of it has to be scrolled apart
    scrolls = """row => {
      for (let box = row; box !== document.body; box = box.parentElement) {
        const { overflowY } = getComputedStyle(box);
        if (overflowY !== "visible" && box.scrollHeight - 1 > box.clientHeight)
          return box.outerHTML.slice(0, 80);
      }
      return "";
    }"""
    assert row.evaluate(scrolls) == ""
    said = row.get_by_role("status").first
    drag(tab, row.get_by_role("slider"))
    assert "it would be" in said.inner_text()
    row.get_by_role("button", name="close qssl C6").tap()
    assert row.locator(".opened").count() == 0
    head_is_seen = """head => { const { x, y, width, height } = head.getBoundingClientRect();
        return head.contains(document.elementFromPoint(x + width / 2, y + height / 2)); }"""
    assert head.evaluate(head_is_seen)
    assert head.evaluate("head => head === document.activeElement")


# --- on paper ---


@pytest.mark.parametrize("kind", LIVE)
def test_on_paper_a_figure_of_a_chapter_is_its_whole_picture(opened, kind):
    tab, figure = opened(kind, width=642)  # A4 without its margins
    tab.emulate_media(media="print")
    assert not figure.locator("[role=group]").is_visible()
    picture = figure.locator("> img")
    assert picture.is_visible()
    box = picture.bounding_box()
    assert 200 < box["width"] <= 642
    assert box["height"] < 900
    assert (
        picture.evaluate(f"(p) => {{ {OUTSIDE} return outside(p, p.getBoundingClientRect()) }}")
        <= 1
    )
