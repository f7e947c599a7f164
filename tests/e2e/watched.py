"""A page of a browser under watch: whatever it complains about is kept, with what its layout and axe complain about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Response

# A blocked style attribute is reported on the element only; this makes each report one line of the console.
REPORT_POLICY = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`content security policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`))"""
# What sticks out at the right, unless a box of its own scrolls or cuts it.
STICKS_OUT = """() => {
  const holds = (node) => node !== document.documentElement && node !== document.body &&
    (getComputedStyle(node).overflowX !== "visible" || getComputedStyle(node).position === "fixed");
  const isHeld = (node) => node && (holds(node) || isHeld(node.parentElement));
  const width = document.documentElement.clientWidth;
  const found = [...document.body.querySelectorAll("*")].filter((node) => {
    const box = node.getBoundingClientRect();
    return box.width && box.height && (box.right > width + 1 || box.left < -1) && node.checkVisibility()
      && !isHeld(node) && !node.closest("svg svg, .only-read-aloud, .skip");
  }).map((node) => `${node.tagName} ${node.className.baseVal ?? node.className} ${node.textContent.slice(0, 40)}`);
  if (document.documentElement.scrollWidth > width) found.push(`page ${document.documentElement.scrollWidth} px wide`);
  return found;
}"""
IS_QUIET = "() => !document.querySelector('.htmx-request')"
#: How long a region takes to be bright again.
DIMMED_MS = 500
CHARTS_DREW = "() => !document.querySelector('[data-chart-url]:not([data-state=ready])')"


class Watched:
    """What went wrong on a page since it was opened, as lines of text."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.complaints = page, list[str]()
        self._hosts = {urlsplit(origin).netloc}
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("dialog", self._asked)
        page.on("request", self._requested)
        page.on("response", self._answered)
        page.on("websocket", lambda socket: self._check_host(socket.url))
        page.add_init_script(REPORT_POLICY)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.complaints.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        self._check_host(request.url)

    def _check_host(self, url: str) -> None:
        if urlsplit(url).scheme not in {"data", "blob"} and urlsplit(url).netloc not in self._hosts:
            self.complaints.append(f"request to another host: {url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def open(self, path: str) -> None:
        """Load a page, with its charts drawn and its live connection open."""
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == 200, f"{answer.status} {path}"
        self.settle()

    def settle(self) -> None:
        """Wait until the page has all that it fetches by itself."""
        if self.page.locator("[data-live-state]").count():
            self.page.locator("[data-live-state]:is([data-state=live], [hidden])").wait_for(state="attached")
        self.page.wait_for_function(CHARTS_DREW)

    def layout_faults(self) -> list[str]:
        """What does not fit into the width of the window."""
        found: list[str] = self.page.evaluate(STICKS_OUT)
        return found

    def accessibility_faults(self, *rules: str) -> list[str]:
        """What axe finds wrong by these rules, or by all, one line for each element.

        A region that fetches itself for long is dim meanwhile, and pale to axe: what it finds counts when it still does
        with nothing under way.
        """
        if not (found := self._faults(rules)):
            return found
        self.page.wait_for_function(IS_QUIET)
        self.page.wait_for_timeout(DIMMED_MS)
        return self._faults(rules)

    def _faults(self, rules: tuple[str, ...]) -> list[str]:
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        violations = Axe().run(self.page, options=options).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:200]}: {node['failureSummary'][:300]}"
            for rule in violations
            for node in rule["nodes"]
        ]


@contextmanager
def watch(context: BrowserContext, origin: str) -> Iterator[Watched]:
    """A new page of a profile; at the end it must not have complained."""
    page = context.new_page()
    watched = Watched(page, origin)
    try:
        yield watched
        page.evaluate("1")  # events that came before are told before its answer
        assert not watched.complaints, "\n".join(watched.complaints)
    finally:
        page.close()
