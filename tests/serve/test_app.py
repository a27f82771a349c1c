"""The server without a browser: who is let in, what can be opened, and what comes over the WebSocket."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")

from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from tctrack.serve.app import Settings, create_app
from tests.clips import HEIGHT, WIDTH, square_box, square_frames, write_video
from trackers import build_tracker

HERE, LIVE = "http://127.0.0.1:8000", "ws://127.0.0.1:8000/live"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    write_video(folder / "clip.mp4", 40)
    (folder / "images").mkdir()
    for index, frame in enumerate(square_frames(3)):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), frame)
    (folder / "notes.txt").write_text("no video")
    outside = tmp_path_factory.mktemp("outside")
    write_video(outside / "secret.mp4", 5)
    (folder / "link").symlink_to(outside)
    (folder / "link.mp4").symlink_to(outside / "secret.mp4")
    return folder


def client(root: Path, address: str = HERE, **settings: Any) -> TestClient:
    app = create_app(Settings(lambda: build_tracker("tctrack-lite", threads=1), root, **settings))
    return TestClient(app, base_url=address)


class Page:
    """What the page does, over a WebSocket; acknowledges pictures as they are read."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self._socket = socket
        self.session: str = self.message("hello")["session"]

    def send(self, action: str, **values: Any) -> None:
        self._socket.send_text(json.dumps({"action": action, **values}))

    def receive(self) -> dict[str, Any]:
        message = self._socket.receive()
        if "text" in message:
            return json.loads(message["text"])
        data = message["bytes"]
        length = int.from_bytes(data[:4], "little")
        frame = cv2.imdecode(np.frombuffer(data[4 + length :], np.uint8), cv2.IMREAD_COLOR)
        self.send("ack")
        return {"header": json.loads(data[4 : 4 + length]), "frame": frame}

    def message(self, key: str) -> Any:
        while key not in (found := self.receive()):
            pass
        return found[key]

    def track(self, box: tuple[float, ...], until: int) -> list[dict[str, Any]]:
        """Draw a box on the first frame and play at once to a frame; return the records."""
        self.send("draw", frame=0, box=box, id=None)
        self.send("hasten", speed=0)
        self.send("play")
        records: list[dict[str, Any]] = []
        while not records or records[-1]["frame"] < until:
            records += self.message("header")["records"]
        return records


@pytest.fixture
def page(root: Path) -> Iterator[Page]:
    with client(root) as http, http.websocket_connect(LIVE) as socket:
        page = Page(socket)
        page.http = http  # type: ignore[attr-defined]
        yield page


def test_a_drawn_target_is_tracked_and_can_be_downloaded(page: Page) -> None:
    page.send("open", path="clip.mp4")
    opened = page.message("opened")
    assert (opened["width"], opened["height"], opened["frames"], opened["name"]) == (WIDTH, HEIGHT, 40, "clip.mp4")
    records = page.track(square_box(0), 39)
    assert [record["frame"] for record in records] == list(range(40))
    assert {record["id"] for record in records} == {1}
    for record in records:
        np.testing.assert_allclose(record["box"][:2], square_box(record["frame"])[:2], atol=8)

    get = page.http.get  # type: ignore[attr-defined]
    address = f"/download/{page.session}"
    assert [json.loads(line) for line in get(f"{address}/track.jsonl").text.splitlines()] == records
    table = list(csv.DictReader(io.StringIO(get(f"{address}/track.csv").text)))
    assert [float(row["x"]) for row in table] == [record["box"][0] for record in records]
    mot = np.loadtxt(io.StringIO(get(f"{address}/track.txt").text), delimiter=",")
    np.testing.assert_array_equal(mot[:, 0], np.arange(1, 41))
    np.testing.assert_allclose(mot[:, 2:6], [record["box"] for record in records], atol=0.01)
    assert get(f"{address}/track.exe").status_code == 404


def test_the_video_has_the_boxes(page: Page, tmp_path: Path) -> None:
    page.send("open", path="clip.mp4")
    page.track((60.0, 10.0, 40.0, 30.0), 5)
    page.send("stop")
    video = page.http.get(f"/download/{page.session}/track.mp4")  # type: ignore[attr-defined]
    assert video.headers["content-type"] == "video/mp4"
    (tmp_path / "out.mp4").write_bytes(video.content)
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25, abs=0.5)
    found, frame = capture.read()
    assert found
    assert frame.shape == (HEIGHT, WIDTH, 3)
    green = frame[10:40, 60].astype(int)  # the box's left side
    assert (green[:, 1] - green[:, 2]).mean() > 60


def test_drawing_again_replaces_what_follows_and_leaves_the_others(page: Page) -> None:
    page.send("open", path="clip.mp4")
    first = page.track(square_box(0), 20)
    page.send("stop")
    page.send("draw", frame=5, box=[100, 80, 20, 20], id=None)
    page.send("draw", frame=5, box=list(square_box(5)), id=1)
    assert page.message("forget") == {"id": 2, "first": 5}
    assert page.message("forget") == {"id": 1, "first": 5}
    page.send("play")
    while (header := page.message("header"))["playing"] or header["frame"] < 39:
        pass
    lines = page.http.get(f"/download/{page.session}/track.jsonl").text.splitlines()  # type: ignore[attr-defined]
    records = [json.loads(line) for line in lines]
    assert [record["frame"] for record in records if record["id"] == 1] == list(range(40))
    assert [record["frame"] for record in records if record["id"] == 2] == list(range(5, 40))
    assert [record for record in records if record["frame"] < 5] == [one for one in first if one["frame"] < 5]
    page.send("drop", id=2)
    assert page.message("header")["targets"] == [1]


def test_seeking_shows_the_frame(page: Page) -> None:
    page.send("open", path="clip.mp4")
    for wanted, shown in ((30, 30), (3, 3), (99, 39)):
        page.send("seek", frame=wanted)
        while (found := page.receive()).get("header", {}).get("frame") != shown:
            pass
        x, y = map(int, square_box(shown)[:2])
        assert found["frame"][y + 6 : y + 18, x + 6 : x + 18, 2].mean() > found["frame"][:20, :, 2].mean() + 20


def test_a_slow_page_gets_the_newest_frame_and_every_record(root: Path) -> None:
    with client(root) as http, http.websocket_connect(LIVE) as socket:
        page = Page(socket)
        page.send("open", path="clip.mp4")
        page.message("opened")
        pictures = [socket.receive_bytes()]  # of the two that may be under way
        page.send("draw", frame=0, box=square_box(0), id=None)
        page.send("hasten", speed=0)
        page.send("play")
        forgotten = json.loads(socket.receive_text())
        assert "forget" in forgotten
        pictures.append(socket.receive_bytes())
        download = f"/download/{page.session}/track.jsonl"
        while '"frame": 39' not in http.get(download).text:
            pass
        page.send("ack")
        page.send("ack")
        headers = [json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")]) for data in pictures]
        while headers[-1]["frame"] < 39:
            headers.append(page.message("header"))
        assert len(headers) <= 5
        assert [record["frame"] for header in headers for record in header["records"]] == list(range(40))


def test_a_source_of_the_command_line_is_open_at_once(root: Path) -> None:
    with client(root, source=str(root / "images")) as http, http.websocket_connect(LIVE) as socket:
        opened = Page(socket).message("opened")
        assert (opened["name"], opened["frames"]) == ("images", 3)


def test_files_under_the_root_are_listed(root: Path) -> None:
    found = client(root).get("/files").json()
    assert [(entry["name"], entry["kind"]) for entry in found] == [("clip.mp4", "video"), ("images", "images")]


@pytest.mark.parametrize("path", ["..", "../outside", "link", "link/secret.mp4", "/etc", "\0", "images/../../x"])
def test_paths_stay_under_the_root(root: Path, path: str, page: Page) -> None:
    answer = client(root).get("/files", params={"path": path})
    assert answer.status_code == 400
    assert "\n" not in answer.text
    page.send("open", path=path)
    assert "folder" in page.message("error")


@pytest.mark.parametrize("source", ["/etc/passwd", "file:///etc/passwd", "concat:a|b", "clip.mp4", "data:,x"])
def test_a_stream_is_no_way_to_files(source: str, page: Page) -> None:
    page.send("open", source=source)
    assert "is no stream" in page.message("error")


def test_what_cannot_be_opened_is_told_in_one_line(page: Page) -> None:
    page.send("open", path="notes.txt")
    error = page.message("error")
    assert "notes.txt" in error
    assert "\n" not in error
    page.send("open", upload="x")
    assert page.message("error") == "upload a video first"


def test_an_upload_is_opened_and_goes_with_its_page(root: Path) -> None:
    with client(root) as http:
        with http.websocket_connect(LIVE) as socket:
            page = Page(socket)
            data = (root / "clip.mp4").read_bytes()
            assert http.post(f"/upload/{page.session}?name=../../my.mp4", content=data).status_code == 200
            page.send("open", upload="my.mp4")
            assert page.message("opened")["frames"] == 40
        gone = http.post(f"/upload/{page.session}?name=my.mp4", content=data)
        assert gone.status_code == 400
        assert "has ended" in gone.text


def test_uploads_are_limited(root: Path) -> None:
    with client(root, upload_limit=1000) as http, http.websocket_connect(LIVE) as socket:
        address = f"/upload/{Page(socket).session}"
        assert http.post(f"{address}?name=a.mp4", content=b"x" * 1001).status_code == 413
        stream = (b"x" * 400 for _ in range(3))  # of unknown length
        assert http.post(f"{address}?name=a.mp4", content=stream).status_code == 413
        assert http.post(f"{address}?name=a.mp4", content=b"x" * 1000).status_code == 200
        assert "is no video" in http.post(f"{address}?name=a.exe", content=b"x").text


def test_without_a_token_only_this_machines_names_are_answered(root: Path) -> None:
    assert client(root).get("/").status_code == 200
    assert client(root, "http://localhost:1").get("/").status_code == 200
    assert client(root, "http://evil.example").get("/").status_code == 403
    strange = {"origin": "http://evil.example"}
    assert client(root).post("/upload/x", headers=strange).status_code == 403
    with pytest.raises(WebSocketDisconnect), client(root).websocket_connect(LIVE, headers=strange):
        pass


def test_elsewhere_a_page_needs_the_token(root: Path) -> None:
    http = client(root, "http://10.0.0.5:8000", token="right")
    for address in ("/", "/files", "/page/app.js", "/?token=wrong"):
        assert http.get(address).status_code == 403
    with pytest.raises(WebSocketDisconnect), http.websocket_connect(LIVE):
        pass
    assert http.get("/?token=right").status_code == 200
    assert http.get("/files").status_code == 200  # the cookie is enough
    with http.websocket_connect("ws://10.0.0.5:8000/live") as socket:
        assert Page(socket).session


@pytest.mark.parametrize(
    "text", ["no json", "[]", "{}", '{"action": "seek"}', '{"action": "end"}', '{"action": "seek", "frame": null}']
)
def test_malformed_messages_end_the_session(root: Path, text: str) -> None:
    with client(root).websocket_connect(LIVE) as socket:
        Page(socket)
        socket.send_text(text)
        closed = socket.receive()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1008)


def test_a_box_on_an_older_live_frame_catches_up(page: Page) -> None:
    page.send("open", browser=True)
    for index, frame in enumerate(square_frames(12)):
        if index == 11:  # the player waits for this frame
            page.send("draw", frame=2, box=square_box(2), id=None)
        page._socket.send_bytes(cv2.imencode(".jpg", frame)[1].tobytes())
        while page.message("header")["frame"] < index:
            pass
    while not (records := page.message("header")["records"]):
        pass
    assert [record["frame"] for record in records] == list(range(2, 12))
    np.testing.assert_allclose(records[-1]["box"][:2], square_box(11)[:2], atol=6)


def test_a_browsers_camera_is_tracked_live(page: Page) -> None:
    page.send("open", browser=True)
    frames = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in square_frames(12)]
    page._socket.send_bytes(frames[0])
    assert page.message("opened")["live"]
    page.message("header")
    page.send("draw", frame=0, box=square_box(0), id=None)
    records = []
    for frame in frames[1:]:
        page._socket.send_bytes(frame)
        records += page.message("header")["records"]
    while not records or records[-1]["frame"] < 8:
        records += page.message("header")["records"]
    assert records[-1]["box"][0] > square_box(0).x + 10
    page.send("seek", frame=0)
    while (header := page.message("header"))["frame"]:
        pass
    assert not header["playing"]
