// Keeps the page current over one stream. The hub sends finished pieces of the page; here they only find their place.
const AGAIN_MS = 3000;
const place = document.querySelector("[data-live]");
const messages = document.getElementById("messages");
const waiting = [];
let source;

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

function replace({ data }) {
  const next = piece(data);
  const present = document.getElementById(next.id);
  if (!present) document.getElementById("dispatches").prepend(next);
  else if (next.dataset.version ? next.dataset.version !== present.dataset.version : !next.isEqualNode(present)) {
    const replacing = new CustomEvent("replacing", { bubbles: true, cancelable: true, detail: next });
    if (present.dispatchEvent(replacing)) present.replaceWith(next);
  }
  dispatchEvent(new Event("replaced"));
}

function open() {
  if (source) return;
  const tell = (detail) => dispatchEvent(new CustomEvent("stream", { detail }));
  source = new EventSource(`${place.dataset.live}?after=${messages?.lastElementChild?.dataset.id ?? 0}`);
  source.addEventListener("open", () => tell("open"));
  source.addEventListener("message", append);
  source.addEventListener("replace", replace);
  source.addEventListener("stopping", () => tell("stopping"));
  source.addEventListener("error", () => {
    tell("error");
    // After an answer that is not a stream the browser gives up; a hub behind a proxy may only be starting.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    setTimeout(open, AGAIN_MS);
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

if (place) {
  addEventListener("attend", open);
  addEventListener("online", renew);
  addEventListener("offline", renew);
  addEventListener("rest", close);
  addEventListener("pagehide", close);
}
