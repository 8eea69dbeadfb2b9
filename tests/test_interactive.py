"""Figures that react: the page's part, its fallback, and the slider in a real browser."""

import base64

import matplotlib.pyplot as plt
import pytest
from bs4 import BeautifulSoup

from qmlbook.errors import UsageError
from qmlbook.interactive import Slider


def slider(n=3):
    figures = []
    for place in range(n):
        figure, ax = plt.subplots(figsize=(2, 1))
        ax.bar(range(n), [place == other for other in range(n)])
        figures.append(figure)
    return Slider.of("bar", figures, [f"bar {place} </script> & <b>" for place in range(n)])


def test_without_scripts_the_last_picture_is_all_there_is():
    soup = BeautifulSoup(slider().html(), "html.parser")
    shown = [image for image in soup.find_all("img") if not image.has_attr("hidden")]
    assert len(soup.find_all("img")) == 3
    assert [image["alt"] for image in shown] == ["bar 2 </script> & <b>"]
    assert soup.p.has_attr("hidden")


def test_it_needs_no_other_file():
    soup = BeautifulSoup(slider().html(), "html.parser")
    assert all(image["src"].startswith("data:image/png;base64,") for image in soup.find_all("img"))
    assert "http" not in soup.script.string


def test_other_readers_get_the_last_picture():
    made = slider()
    bundle = made._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == made.frames[-1]
    assert bundle["text/plain"].startswith("bar: bar 2")


def test_the_same_figures_give_the_same_page_and_are_closed():
    assert slider().html() == slider().html()
    assert not plt.get_fignums()


@pytest.mark.parametrize(("n", "captions"), [(0, []), (1, []), (1, ["one", "two"])])
def test_every_figure_needs_a_caption(n, captions):
    figures = [plt.figure() for _ in range(n)]
    with pytest.raises(UsageError, match=f"{len(captions)} for {n}"):
        Slider.of("bar", figures, captions)
    plt.close("all")


@pytest.mark.slow
def test_the_slider_works_by_keyboard(browser):
    tab = browser.new_page()
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.set_content(f"<html><body>{slider().html()}{slider(2).html()}</body></html>")
    first = tab.locator(".qmlbook-slider").first
    control, shown = first.get_by_label("bar"), first.locator("img:visible")
    assert shown.get_attribute("alt").startswith("bar 2")
    control.focus()
    control.press("ArrowLeft")
    assert shown.count() == 1
    assert shown.get_attribute("alt") == "bar 1 </script> & <b>"
    assert first.locator("output").inner_text() == "bar 1 </script> & <b>"
    assert control.get_attribute("aria-valuetext").startswith("bar 1")
    control.press("Home")
    assert shown.get_attribute("alt").startswith("bar 0")
    second = tab.locator(".qmlbook-slider").last
    assert second.locator("img:visible").get_attribute("alt").startswith("bar 1")
    assert not complaints
    tab.close()
