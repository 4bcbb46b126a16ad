"""Browsers for tests of what a page does: the distribution's own, one of each for the session."""

import functools
import shutil

import pytest

# The shell without windows does the same in half the processor time.
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))),
    None,
)
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
START_MS = 120_000  # a busy machine takes its time


def _launch(playwright, name):
    if name == "chromium":
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-gpu"]}
        return playwright.chromium.launch(**options, timeout=START_MS)
    # A channel of this kind is driven by WebDriver BiDi, which every Firefox speaks.
    options = {"executable_path": FIREFOX, "channel": "moz-firefox"}
    return playwright.firefox.launch(**options, timeout=START_MS)


@pytest.fixture(scope="session")
def launched():
    """Gives the browser of a name, which begins when it is first asked for and stays."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield functools.cache(functools.partial(_launch, playwright))


@pytest.fixture(params=["chromium", "firefox"])
def browser(request, launched):
    """Each of the browsers in turn; `browser.browser_type.name` says which."""
    if {"chromium": CHROMIUM, "firefox": FIREFOX}[request.param] is None:
        package = {"chromium": "chromium-headless-shell", "firefox": "firefox-esr"}[request.param]
        pytest.skip(f"needs {package} on PATH: apt-get install {package}")
    return launched(request.param)


@pytest.fixture
def tab(browser):
    """A page that fails the test when it says something, breaks its policy or asks for anything
    but files; `tab.complaints` and `tab.asked` hold what it did.
    """
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(20_000)
    page.complaints, page.asked = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message) or dialog.dismiss())
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    page.close()
    assert page.complaints == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
