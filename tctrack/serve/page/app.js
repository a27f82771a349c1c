// The page of `tctrack serve`: shows the frames that come over one WebSocket, and sends what the user does.
// A binary message is a length (uint32, little-endian), a JSON header of that length, and a JPEG.

const $ = (id) => document.getElementById(id);
const stage = $("stage"), picture = $("picture"), overlay = $("overlay"), strip = $("strip");
const RANK = { tracked: 0, hidden: 1, lost: 2 };
const STATE_COLOUR = { hidden: "#f5b83d", lost: "#ff5252" };
const DROPPED = 8; // frames without a record that the strip draws over
const SMALLEST = 6; // of a drawn box, in pixels of the screen

let hello = {};          // what the server said first: session, upload limit, colours
let source = null;       // what is open: name, width, height, fps, frames, live
let head = {};           // header of the newest frame
let targets = new Map(); // by id: {colour, records: Map of frame -> record}
let drawing = null;      // the box under the pointer: {frame, x0, y0, x1, y1} in frame pixels
let again = null;        // id of the target that the next box replaces
let capture = null;      // this device's camera, while it is the source
let painted = [];        // when the last frames were shown

// ---- the line to the server

const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
socket.binaryType = "arraybuffer";
const send = (action, values = {}) => socket.readyState === 1 && socket.send(JSON.stringify({ action, ...values }));

socket.onclose = (event) => { busy(""); stopCapture(); complain(event.reason || "The connection has ended; reload the page."); };
history.replaceState(null, "", location.pathname); // the token is in a cookie by now
let greet;
const greeted = new Promise((resolve) => { greet = resolve; }); // a file may be chosen before the server answers
let turn = Promise.resolve();
socket.onmessage = ({ data }) => { turn = turn.then(() => (typeof data === "string" ? heard(JSON.parse(data)) : received(data))); };

function heard(message) {
  if (message.hello) { hello = message.hello; greet(); list(""); }
  if (message.opened) opened(message.opened);
  if (message.closed) showStart();
  if (message.error) { busy(""); complain(message.error); if (!source) stopCapture(); }
  if (message.forget) {
    const { id, first } = message.forget, target = targets.get(id);
    for (const frame of target ? [...target.records.keys()] : []) if (frame >= first) target.records.delete(frame);
    if (target && !target.records.size) targets.delete(id);
    redraw();
  }
}

async function received(data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  for (const record of header.records) {
    if (!targets.has(record.id)) targets.set(record.id, { colour: colourOf(record.id), records: new Map() });
    targets.get(record.id).records.set(record.frame, record);
  }
  if (!drawing && source) {
    const image = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    if (!drawing) {
      if (picture.width !== image.width || picture.height !== image.height) {
        [picture.width, picture.height] = [image.width, image.height];
      }
      picture.getContext("2d").drawImage(image, 0, 0);
      head = header;
      painted = [...painted.slice(-30), performance.now()];
      busy("");
      redraw();
    }
    image.close();
  }
  send("ack");
  if (capture) capture.sent = Math.max(0, capture.sent - 1);
}

// ---- sources

function opened(what) {
  source = what; targets = new Map(); head = {}; again = null; painted = [];
  stage.style.setProperty("--ratio", what.width / what.height);
  document.title = `${what.name} · TCTrack`;
  $("name").textContent = what.name;
  $("live").hidden = !what.live;
  $("start").hidden = true;
  for (const id of ["room", "again"]) $(id).hidden = false;
  for (const id of ["back", "next", "rate"]) $(id).hidden = what.live;
  $("rate").querySelector("select").value = "1";
  complain("");
  redraw();
}

function showStart() {
  source = null; stopCapture();
  document.title = "TCTrack";
  $("name").textContent = $("speed").textContent = "";
  $("start").hidden = false;
  for (const id of ["room", "again", "live"]) $(id).hidden = true;
}

$("again").onclick = () => send("close");

function open(values) { busy("Opening …"); send("open", values); }

async function upload(file) {
  if (!file) return;
  await greeted;
  if (file.size > hello.upload_limit) {
    return complain(`${file.name} is larger than ${megabytes(hello.upload_limit)}, the limit of this server (--max-upload)`);
  }
  const request = new XMLHttpRequest(), progress = $("progress");
  request.open("POST", `/upload/${hello.session}?name=${encodeURIComponent(file.name)}`);
  request.upload.onprogress = (event) => { progress.value = event.loaded / event.total; };
  request.onloadend = () => {
    progress.hidden = true;
    $("file").value = "";
    if (request.status === 200) open({ upload: file.name });
    else complain(request.responseText || "The upload was cut off; try again.");
  };
  progress.hidden = false; progress.value = 0;
  request.send(file);
}
$("file").onchange = (event) => upload(event.target.files[0]);
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault(); document.body.classList.remove("over");
  if (!source) upload(event.dataTransfer.files[0]);
});
$("drop").onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") $("file").click(); };

$("camera").onsubmit = (event) => { event.preventDefault(); open({ source: event.target.index.value }); };
$("stream").onsubmit = (event) => { event.preventDefault(); open({ source: event.target.url.value.trim() }); };

async function list(path) {
  const answer = await fetch(`/files?path=${encodeURIComponent(path)}`);
  if (!answer.ok) return complain(await answer.text());
  const crumbs = [["", "Files"], ...path.split("/").filter(Boolean).map((part, i, all) => [all.slice(0, i + 1).join("/"), part])];
  $("crumbs").replaceChildren(...crumbs.map(([to, text]) => button(`${text} /`, () => list(to))));
  const entries = await answer.json();
  $("files").replaceChildren(...entries.map((entry) => {
    const whole = path ? `${path}/${entry.name}` : entry.name;
    const line = button("", () => (entry.kind === "folder" ? list(whole) : open({ path: whole })));
    line.append(element("span", `${entry.kind === "folder" ? "▸ " : ""}${entry.name}`), element("small", describe(entry)));
    const item = element("li"); item.append(line); return item;
  }));
  if (!entries.length) $("files").append(element("li", "No videos or image folders here.", "note"));
}
const describe = ({ kind, size }) => (kind === "video" ? megabytes(size) : kind === "images" ? "images" : "");
const megabytes = (bytes) => (bytes < 1e9 ? `${Math.max(0.1, bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);

// This device's camera: at most two frames are under way; each frame that comes back makes room for the next.
$("webcam").onclick = async () => {
  if (!navigator.mediaDevices) return complain("This browser gives its camera only to https:// or localhost pages.");
  try {
    const media = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    const video = Object.assign(document.createElement("video"), { srcObject: media, muted: true, playsInline: true });
    await video.play();
    const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    capture = { media, sent: 0 };
    open({ browser: true });
    const mine = capture;
    const shoot = () => {
      if (capture !== mine) return;
      requestAnimationFrame(shoot);
      if (mine.sent >= 2 || mine.busy) return;
      mine.busy = true;
      canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => {
        mine.busy = false;
        if (capture === mine && socket.readyState === 1) { mine.sent += 1; socket.send(blob); }
      }, "image/jpeg", 0.85);
    };
    shoot();
    const timer = setInterval(() => { // a frame that was dropped never comes back
      mine.sent = Math.max(0, mine.sent - 1);
      if (capture !== mine) clearInterval(timer);
    }, 1000);
  } catch (error) {
    complain(`The camera cannot be used: ${error.message}`);
  }
};
function stopCapture() { capture?.media.getTracks().forEach((track) => track.stop()); capture = null; }

// ---- drawing a box

function at(event) {
  const frame = overlay.getBoundingClientRect();
  const clip = (value, top) => Math.min(Math.max(value, 0), top);
  return [
    clip(((event.clientX - frame.left) / frame.width) * source.width, source.width),
    clip(((event.clientY - frame.top) / frame.height) * source.height, source.height),
  ];
}
overlay.onpointerdown = (event) => {
  if (!source || head.frame === undefined || event.button) return;
  overlay.setPointerCapture(event.pointerId);
  const [x, y] = at(event);
  drawing = { frame: head.frame, x0: x, y0: y, x1: x, y1: y };
};
overlay.onpointermove = (event) => {
  if (!drawing) return;
  [drawing.x1, drawing.y1] = at(event);
  redraw();
};
overlay.onpointerup = () => {
  if (!drawing) return;
  const [x, y, w, h] = drawnBox(), scale = overlay.clientWidth / source.width;
  if (Math.min(w, h) * scale >= SMALLEST) {
    send("draw", { frame: drawing.frame, box: [x, y, w, h], id: again });
    again = null;
  }
  drawing = null;
  redraw();
};
overlay.onpointercancel = () => { drawing = null; redraw(); };
const drawnBox = ({ x0, y0, x1, y1 } = drawing) => [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];

// ---- transport

const play = () => send(head.playing ? "stop" : "play");
const seek = (frame) => send("seek", { frame });
$("play").onclick = play;
$("back").onclick = () => seek(head.frame - 1);
$("next").onclick = () => seek(head.frame + 1);
$("rate").querySelector("select").onchange = (event) => send("hasten", { speed: Number(event.target.value) });
addEventListener("keydown", (event) => {
  if (!source || /INPUT|SELECT/.test(event.target.tagName)) return;
  const on = event.target.tagName === "BUTTON";
  if (event.key === " " && !on) play();
  else if (event.key === "ArrowLeft") seek(head.frame - 1);
  else if (event.key === "ArrowRight") seek(head.frame + 1);
  else if (event.key === "Escape") { drawing = again = null; redraw(); }
  else return;
  event.preventDefault();
});

const span = () => (source.frames ? [0, source.frames - 1] : [head.first || 0, Math.max((head.last || 0), (head.first || 0) + 299)]);
function jump(event) {
  const frame = strip.getBoundingClientRect(), [first, last] = span();
  const share = Math.min(Math.max((event.clientX - frame.left) / frame.width, 0), 1);
  seek(Math.min(Math.round(first + share * (last - first)), source.live ? head.last : last));
}
strip.onpointerdown = (event) => { strip.setPointerCapture(event.pointerId); jump(event); };
strip.onpointermove = (event) => { if (strip.hasPointerCapture(event.pointerId)) jump(event); };

// ---- painting

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; if (source) { paintBoxes(); paintStrip(); paintPanel(); } });
}

function fit(canvas) {
  const dpr = window.devicePixelRatio || 1, [w, h] = [canvas.clientWidth, canvas.clientHeight];
  const size = [Math.round(w * dpr), Math.round(h * dpr)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d");
  pen.setTransform(dpr, 0, 0, dpr, 0, 0);
  pen.clearRect(0, 0, w, h);
  return [pen, w, h];
}

function paintBoxes() {
  const [pen, width] = fit(overlay), scale = width / source.width;
  for (const [id, target] of targets) {
    const record = target.records.get(head.frame);
    if (record) paintBox(pen, record.box.map((value) => value * scale), id, target, record, width);
  }
  if (drawing) {
    const [x, y, w, h] = drawnBox().map((value) => value * scale);
    pen.fillStyle = "#ffffff22"; pen.fillRect(x, y, w, h);
    pen.strokeStyle = "#fff"; pen.lineWidth = 2; pen.setLineDash([]); pen.strokeRect(x, y, w, h);
  }
  const asked = again !== null ? `Draw target ${again} again` : targets.size ? "" : "Draw a box around a target";
  $("hint").textContent = drawing ? "" : asked;
}

function paintBox(pen, [x, y, w, h], id, target, record, width) {
  const colour = record.state === "lost" ? STATE_COLOUR.lost : target.colour;
  const dash = Math.min(7, Math.min(w, h) / 4);
  pen.setLineDash(record.state === "tracked" ? [] : [dash, 0.7 * dash]);
  for (const [paint, thick] of [["#0a0e13b0", 4.5], [colour, 2.25]]) {
    pen.strokeStyle = paint; pen.lineWidth = thick; pen.strokeRect(x, y, w, h);
  }
  pen.setLineDash([]);
  const score = record.score === null ? "" : record.score.toFixed(2);
  const sure = record.confidence === null ? score : `${Math.round(100 * record.confidence)}%`;
  const label = `${id} ${record.state === "tracked" ? sure : record.state}`.trim();
  pen.font = "600 13px system-ui, sans-serif";
  const wide = pen.measureText(label).width + 12;
  const left = Math.min(Math.max(x - 1, 0), width - wide), top = y > 24 ? y - 23 : y + h + 4;
  pen.fillStyle = colour; pen.beginPath(); pen.roundRect(left, top, wide, 19, 5); pen.fill();
  pen.fillStyle = "#06120a"; pen.fillText(label, left + 6, top + 14);
}

function paintStrip() {
  const [pen, width, height] = fit(strip), [first, last] = span(), step = (last - first || 1) / width;
  const lane = Math.min(7, 28 / Math.max(targets.size, 1)), lanes = targets.size * lane + 4;
  const top = 8, plot = height - lanes - top - 4;
  pen.strokeStyle = "#2a364480"; pen.lineWidth = 1;
  for (const level of [0, 0.5, 1]) { pen.beginPath(); pen.moveTo(0, top + plot * (1 - level)); pen.lineTo(width, top + plot * (1 - level)); pen.stroke(); }
  let row = 0;
  for (const target of targets.values()) {
    const y = height - lanes + row++ * lane;
    pen.strokeStyle = target.colour; pen.lineWidth = 1.6; pen.beginPath();
    let open = false, last = null; // the record before: a live source drops frames
    for (let px = 0; px < width; px += 1) {
      // A column stands for some frames: the lowest confidence and the worst state of them.
      let low = null, worst = -1;
      for (let f = Math.ceil(first + px * step); f < first + (px + 1) * step || (step < 1 && f < first + px * step + 1); f += 1) {
        const record = target.records.get(f) || (source.live && last && f <= head.last && f - last.frame <= DROPPED ? last : null);
        if (!record) continue;
        last = record;
        worst = Math.max(worst, RANK[record.state]);
        const sure = record.confidence ?? record.score;
        if (sure !== null) low = low === null ? sure : Math.min(low, sure);
      }
      if (low !== null) {
        const to = [px, top + plot * (1 - low)];
        if (open) pen.lineTo(...to); else pen.moveTo(...to);
      }
      open = low !== null;
      if (worst >= 0) {
        pen.fillStyle = ["#3ce660", STATE_COLOUR.hidden, STATE_COLOUR.lost][worst];
        pen.fillRect(px, y, 1.2, lane - 2);
        if (worst) { pen.globalAlpha = 0.16; pen.fillRect(px, top, 1, plot); pen.globalAlpha = 1; }
      }
    }
    pen.stroke();
  }
  const x = ((head.frame ?? first) - first) / step;
  pen.fillStyle = "#fff"; pen.fillRect(Math.min(Math.max(x - 1, 0), width - 2), 0, 2, height);
}

const ICONS = { true: '<svg viewBox="0 0 24 24"><path d="M7 5h3v14H7zM14 5h3v14h-3z"/></svg>', false: '<svg viewBox="0 0 24 24"><path d="M8 5l11 7-11 7z"/></svg>' };
function paintPanel() {
  const key = String(Boolean(head.playing));
  if ($("play").dataset.key !== key) {
    Object.assign($("play").dataset, { key });
    $("play").innerHTML = ICONS[key];
    $("play").ariaLabel = head.playing ? "Pause" : "Play";
  }
  $("clock").innerHTML = head.frame === undefined ? "" : source.frames
    ? `${time(head.time)} <small>/ ${time(source.frames / (source.fps || 30))} </small><small class="frame">&ensp;frame ${head.frame}</small>`
    : `${time(head.time)} <small>&ensp;frame ${head.frame}</small>`;
  const rate = painted.length > 5 && head.playing ? (painted.length - 1) / ((painted.at(-1) - painted[0]) / 1000) : 0;
  $("speed").textContent = [head.fps ? `tracker ${Math.round(head.fps)} FPS` : "", rate ? `shown ${Math.round(rate)}` : ""].filter(Boolean).join(" · ");
  $("dropped").textContent = head.dropped ? `${head.dropped} frames of the source dropped` : "";
  $("none").hidden = targets.size > 0;
  for (const download of $("downloads").children) if (!download.dataset.busy) download.disabled = !targets.size;

  const rows = $("targets");
  for (const row of [...rows.children]) if (!targets.has(Number(row.dataset.id))) row.remove();
  for (const [id, target] of targets) {
    const row = [...rows.children].find((one) => Number(one.dataset.id) === id) || rows.appendChild(targetRow(id, target));
    const record = target.records.get(head.frame), following = head.targets?.includes(id);
    const sure = record ? record.confidence ?? record.score : null;
    row.classList.toggle("stopped", !following);
    const word = row.querySelector(".state");
    word.className = `state ${record ? record.state : "none"}`;
    word.textContent = record ? record.state : following ? "not in this frame" : "stopped";
    row.querySelector(".gauge span").style.width = `${100 * (sure ?? 0)}%`;
    const [redo, drop] = row.querySelectorAll("button");
    redo.classList.toggle("on", again === id);
    drop.textContent = following ? "Stop" : "Remove";
  }
}

function targetRow(id, target) {
  const row = element("li"), top = element("div", "", "top"), gauge = element("div", "", "gauge"), tools = element("div", "", "tools");
  row.dataset.id = id;
  row.style.setProperty("--colour", target.colour);
  top.append(element("b", `Target ${id}`), element("span", "", "state"));
  gauge.append(element("span"));
  tools.append(
    button("Draw again", () => { again = again === id ? null : id; redraw(); }),
    button("Stop", () => send("drop", { id })),
  );
  row.append(top, gauge, tools);
  return row;
}

// ---- downloads, small helpers

for (const download of $("downloads").children) {
  download.onclick = async () => {
    const text = download.textContent;
    Object.assign(download, { disabled: true, textContent: "…" }).dataset.busy = "1";
    try {
      const answer = await fetch(`/download/${hello.session}/${download.dataset.file}`);
      if (!answer.ok) throw new Error(await answer.text());
      const link = element("a");
      link.href = URL.createObjectURL(await answer.blob());
      const stem = source.live ? source.name : source.name.replace(/\.\w+$/, "");
      link.download = `${stem.replace(/[^\w-]+/g, "_")}_tracked${download.dataset.file.replace("track", "")}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    } catch (error) {
      complain(error.message);
    }
    download.textContent = text;
    delete download.dataset.busy;
    redraw();
  };
}

function element(tag, text = "", kind = "") { return Object.assign(document.createElement(tag), { textContent: text, className: kind }); }
function button(text, onclick) { return Object.assign(element("button", text), { type: "button", onclick }); }
function colourOf(id) { return hello.colours[(id - 1) % hello.colours.length]; }
function time(seconds) {
  const whole = Math.max(0, seconds || 0), minutes = Math.floor(whole / 60);
  return `${minutes}:${(whole - minutes * 60).toFixed(1).padStart(4, "0")}`;
}
function busy(text) { $("doing").textContent = text; $("wait").hidden = !text; }
function complain(text) { $("toast").firstElementChild.textContent = text; $("toast").hidden = !text; }
$("toast").lastElementChild.onclick = () => complain("");
addEventListener("resize", redraw);
