// Keeps the page current over one stream. The hub sends finished pieces of the page; here they only find their place.
const AGAIN_MS = 3000;
const place = document.querySelector("[data-live]");
const notice = document.getElementById("connection");
const messages = document.getElementById("messages");
let source;

function piece(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

function append({ data }) {
  const message = piece(data);
  if (document.getElementById(message.id)) return;
  messages.append(message);
  message.dispatchEvent(new Event("arrived", { bubbles: true }));
}

function replace({ data }) {
  const next = piece(data);
  const present = document.getElementById(next.id);
  if (!present) document.getElementById("dispatches").prepend(next);
  else if (next.dataset.version ? next.dataset.version !== present.dataset.version : !next.isEqualNode(present)) {
    present.replaceWith(next);
  }
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource(`${place.dataset.live}?after=${messages?.lastElementChild?.dataset.id ?? 0}`);
  source.addEventListener("open", () => (notice.textContent = ""));
  source.addEventListener("message", append);
  source.addEventListener("replace", replace);
  source.addEventListener("error", () => {
    notice.textContent = "Reconnecting…";
    // After an answer that is not a stream the browser gives up; a hub behind a proxy may only be starting.
    if (source?.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, AGAIN_MS);
    }
  });
}

function close() {
  source?.close();
  source = undefined;
}

if (place) {
  // Browsers allow six connections to a hub: pages that nobody sees do without, and catch up when they are seen.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
}
