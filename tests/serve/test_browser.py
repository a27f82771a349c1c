"""The page in a real browser, Debian's Chromium: upload, draw by mouse and finger, watch, jump, download."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tctrack.geometry.boxes import iou
from tests.clips import SIDE, square_box, write_video
from tests.streams import place, square_stream

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed")
#: Chromium's switches for a quiet start without a display.
QUIET = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "disable-dev-shm-usage",
    "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream",
)  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("root")
    command = [sys.executable, "-m", "tctrack", "serve", "--port", "0", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout
        found = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
        assert found
        yield found[0]
        server.terminate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*QUIET, f"user-data-dir={tmp_path / 'profile'}", "window-size=1300,900"):
        options.add_argument(f"--{switch}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the page did not come so far"
        time.sleep(0.05)
    return found


def find(browser: webdriver.Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def draw(browser: webdriver.Chrome, box: tuple[float, ...], width: int, pointer: str) -> None:
    overlay = find(browser, "#overlay")
    scale = overlay.rect["width"] / width
    area = browser.execute_script("const r = arguments[0].getBoundingClientRect(); return [r.left, r.top]", overlay)
    x, y, w, h = (round(value * scale) for value in box)
    left, top = (round(value) for value in area)
    actions = ActionBuilder(browser, mouse=PointerInput(pointer, pointer), duration=100)
    actions.pointer_action.move_to_location(left + x, top + y).pointer_down()
    actions.pointer_action.move_to_location(left + x + w, top + y + h).pointer_up()
    actions.perform()


def frame_shown(browser: webdriver.Chrome) -> int:
    """Return the number of the frame on the page, -1 while there is none."""
    number = re.search(r"frame (\d+)", find(browser, "#clock").text)
    return int(number[1]) if number else -1


def download(browser: webdriver.Chrome, name: str, path: Path) -> Path:
    find(browser, f"[data-file='{name}']").click()
    wait(path.is_file)
    return path


def test_upload_draw_watch_jump_download(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "flight.mp4", 40)
    browser.get(address)
    find(browser, "#file").send_keys(str(video))
    wait(lambda: find(browser, "#room").is_displayed() and find(browser, "#clock").text)
    assert find(browser, "#hint").text == "Draw a box around a target"

    draw(browser, square_box(0), 160, "mouse")
    wait(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#targets li")) == 1)
    draw(browser, (110, 20, 30, 30), 160, "touch")
    wait(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#targets li")) == 2)
    find(browser, "#play").click()
    wait(lambda: frame_shown(browser) == 39)

    lines = download(browser, "track.jsonl", tmp_path / "flight_tracked.jsonl").read_text().splitlines()
    records = [record for line in lines if (record := json.loads(line))["id"] == 1]
    assert [record["frame"] for record in records] == list(range(40))
    truth = np.array([square_box(frame) for frame in range(40)])
    assert iou(np.array([record["box"] for record in records]), truth).min() > 0.5

    strip = find(browser, "#strip")
    middle = ActionBuilder(browser)
    middle.pointer_action.move_to(strip, 0, 0).click()
    middle.perform()
    shown = wait(lambda: abs(frame_shown(browser) - 20) < 2 and frame_shown(browser))
    x, y, w, h = records[shown]["box"]
    assert w < 2 * SIDE
    script = """
        const overlay = document.getElementById('overlay'), scale = overlay.width / 160;
        const pixel = ([x, y]) => overlay.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data;
        return arguments[0].map((point) => [...pixel(point)]);
    """
    edges = [(x, y + h / 2), (x + w, y + h / 2), (x + w / 2, y + h), (x + w / 2, y + h / 2)]
    *drawn, inside = browser.execute_script(script, edges)
    assert all(green > 180 and opaque > 200 for _, green, _, opaque in drawn)
    assert inside[3] == 0
    picture = "return [...document.getElementById('picture').getContext('2d').getImageData(20, 2, 1, 1).data]"
    assert browser.execute_script(picture)[3] == 255

    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.get(download(browser, "track.mp4", tmp_path / "flight_tracked.mp4").as_uri())
    wait(lambda: browser.execute_script("return document.querySelector('video')?.currentTime > 0.2"))


def test_a_stream_and_this_devices_camera(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    browser.get(address)
    with square_stream() as stream:
        find(browser, "#stream input").send_keys(f"http://pilot:secret@127.0.0.1:{stream.port}/video")
        find(browser, "#stream button").click()
        wait(lambda: find(browser, "#live").is_displayed() and find(browser, "#clock").text)
        assert "secret" not in browser.page_source
        find(browser, "#play").click()
        wait(lambda: find(browser, "#play").get_attribute("aria-label") == "Play")
        drawn = frame_shown(browser)
        draw(browser, square_box(place(drawn)), 160, "mouse")
        wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#targets li"))
        find(browser, "#play").click()
        wait(lambda: frame_shown(browser) > drawn + 60)
        table = download(browser, "track.csv", tmp_path / "127_0_0_1_tracked.csv").read_text().splitlines()
        rows = list(csv.DictReader(table))
        assert int(rows[0]["frame"]) == drawn
        assert int(rows[-1]["frame"]) > drawn + 60
        boxes = np.array([[float(row[side]) for side in "xywh"] for row in rows])
        truth = np.array([square_box(place(int(row["frame"]))) for row in rows])
        assert np.median(iou(boxes, truth)) > 0.5
        find(browser, "#targets .tools button:last-child").click()
        wait(lambda: find(browser, "#targets .state").text == "stopped")
        find(browser, "#again").click()
    wait(lambda: find(browser, "#start").is_displayed())
    find(browser, "#webcam").click()
    wait(lambda: frame_shown(browser) > 3)
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_wrong_file_is_told_in_one_line(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    browser.get(address)
    find(browser, "#file").send_keys(str(tmp_path / "broken.mp4"))
    message = wait(lambda: find(browser, "#toast").text)
    assert "no frame can be decoded" in message
    assert find(browser, "#start").is_displayed()


def test_the_page_fits_a_phone(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(address)
    wide = "return document.documentElement.scrollWidth"
    assert browser.execute_script(wide) == 360
    find(browser, "#file").send_keys(str(write_video(tmp_path / "flight.mp4", 5)))
    wait(lambda: find(browser, "#room").is_displayed() and find(browser, "#clock").text)
    draw(browser, square_box(0), 160, "touch")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#targets li"))
    assert browser.execute_script(wide) == 360
    assert find(browser, "#overlay").rect["width"] == 360
