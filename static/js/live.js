// Keeps the page current over one stream. The hub sends finished pieces of the page; here they only find their place.
import { morph } from "./morph.js";

const AGAIN_MS = 3000;
// A hub says every 15 seconds that it is there.
const SILENT_MS = 40000;
const LOOK_MS = 5000;
// Every page has a stream: its own, or one that tells only how many questions wait.
const place = document.querySelector("main[data-live]") ?? document.querySelector("[data-live]");
const messages = document.getElementById("messages");
const waiting = [];
let source;
let heardAt;

function piece(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

// What comes together is shown together: after a long absence that may be thousands.
function append({ data }) {
  if (waiting.push(piece(data)) === 1) setTimeout(show);
}

function show() {
  const fresh = waiting.splice(0).filter((message) => !document.getElementById(message.id));
  messages.append(...fresh);
  messages.dispatchEvent(new CustomEvent("arrived", { detail: fresh }));
}

// Lists are in order: a piece that is new stands before the first one of a higher order.
function insert(next) {
  const { in: list, order } = next.dataset;
  const rows = [...document.getElementById(list).children];
  document.getElementById(list).insertBefore(next, rows.find((row) => row.dataset.order > Number(order)) ?? null);
}

function replace({ data, lastEventId }) {
  const next = piece(data);
  const present = document.getElementById(next.id);
  const { version } = next.dataset;
  if (lastEventId) place.dataset.after = lastEventId;
  if (version ? version !== present?.dataset.version : !next.isEqualNode(present)) {
    const replacing = new CustomEvent("replacing", { bubbles: true, cancelable: true, detail: next });
    if ((present ?? place).dispatchEvent(replacing)) present ? morph(present, next) : insert(next);
  }
  dispatchEvent(new Event("replaced"));
}

function tell(detail) {
  dispatchEvent(new CustomEvent("stream", { detail }));
}

function open() {
  if (source) return;
  heardAt = Date.now();
  const address = new URL(place.dataset.live, location);
  address.searchParams.set("after", messages?.lastElementChild?.dataset.id ?? place.dataset.after ?? 0);
  source = new EventSource(address);
  const hear = (name, take) =>
    source.addEventListener(name, (event) => {
      heardAt = Date.now();
      take(event);
    });
  hear("open", () => tell("open"));
  hear("alive", () => {});
  hear("message", append);
  hear("replace", replace);
  hear("pending", ({ data }) => dispatchEvent(new CustomEvent("pending", { detail: Number(data) })));
  hear("stopping", () => tell("stopping"));
  source.addEventListener("error", () => {
    tell("error");
    // After an answer that is not a stream the browser gives up; a hub behind a proxy may only be starting.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    setTimeout(open, AGAIN_MS);
    // It does not say what the answer was.
    fetch("/api/channels", { method: "HEAD" }).then(
      ({ status }) => status === 401 && tell("unknown"),
      () => {},
    );
  });
}

function close() {
  source?.close();
  source = undefined;
}

// A stream over a network that is gone does not notice it.
function renew() {
  if (!source) return;
  close();
  open();
}

// A hub that hangs keeps its connections.
function listen() {
  if (!source || Date.now() - heardAt < SILENT_MS) return;
  tell("error");
  renew();
}

if (place) {
  setInterval(listen, LOOK_MS);
  addEventListener("attend", open);
  addEventListener("online", renew);
  addEventListener("offline", renew);
  addEventListener("rest", close);
  addEventListener("pagehide", close);
}
