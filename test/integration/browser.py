"""A headless Chromium on one of the hosts, and what the tests want to know of a page in it."""
import json

from daemon import wait_until
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PHONE, DESKTOP = (360, 740), (1280, 900)

# Every text that is to be seen and has less contrast with what is behind it than 4.5 (WCAG 2 AA).
PALE = r"""
const luminance = colour => {
  const [r, g, b] = colour.map(part => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parse = text => text.match(/[\d.]+/g).map(Number);
const behind = element => {
  for (; element; element = element.parentElement) {
    const colour = parse(getComputedStyle(element).backgroundColor);
    if (colour[3] !== 0)
      return colour.slice(0, 3);
  }
  throw new Error('nothing is behind it');
};
const pale = [];
let seen = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walker.nextNode());) {
  const element = node.parentElement;
  if (!node.data.trim() || !element.getClientRects().length || ['SCRIPT', 'STYLE', 'OPTION'].includes(element.tagName))
    continue;
  seen++;
  const style = getComputedStyle(element);
  const [a, b] = [parse(element.closest('svg') ? style.fill : style.color).slice(0, 3), behind(element)].map(luminance);
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5)
    pale.push(`${node.data.trim()}: ${contrast.toFixed(2)}`);
}
return {seen, pale};
"""


ROWS = """
const cells = row => [...row.cells].map(cell => [cell.dataset.label, [...cell.children].map(part => part.innerText)]);
return [...document.querySelectorAll(`#${arguments[0]} .list tbody tr`)].map(row => Object.fromEntries(cells(row)));
"""


class Browser:
    """To be used on its host's network namespace, as are the driver's own connections to it."""

    def __init__(self):
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--disable-background-networking", "--hide-scrollbars"):
            options.add_argument(argument)
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)

    def open(self, url, size=DESKTOP, dark=False):
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.look(size, dark)
        self.driver.get(url)

    def look(self, size=DESKTOP, dark=False):
        width, height = size
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector="body"):
        """As it is to be seen."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait(self, words, selector="body"):
        """Until they stand there."""
        wait_until(lambda: words in self.text(selector), f"{words!r} in {selector}")

    def rows(self, table="sessions"):
        """The table of sessions, or of users: each row as {heading: [text, quieter text]}."""
        return self.run(ROWS, table)

    def widest(self, selector="html"):
        """How wide what is in it is: wider than the screen, and it scrolls sideways."""
        return self.run("return document.querySelector(arguments[0]).scrollWidth", selector)

    def complaints(self):
        """What went to the console, violations of the policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """The addresses that the page has asked for."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def pale(self):
        """Texts of too little contrast."""
        found = self.run(PALE)
        assert found["seen"] > 40, "hardly any text was looked at"
        return found["pale"]

    def quit(self):
        self.driver.quit()
