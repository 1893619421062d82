// Says in words how the page is connected to its hub.
const LONG_MS = 10000;
const NO_ANSWER = "The hub does not answer. Reconnecting…";
const notice = document.getElementById("connection");
let timer;
let isLost = false;

function say(words, next, afterMs) {
  clearTimeout(timer);
  notice.replaceChildren(words);
  if (afterMs) timer = setTimeout(say, afterMs, next);
}

const said = {
  open() {
    if (isLost) say("Connected again.", "", LONG_MS / 3);
    isLost = false;
  },
  stopping() {
    isLost = true;
    say("The hub is stopping. Reconnecting…", NO_ANSWER, LONG_MS);
  },
  unknown() {
    const here = encodeURIComponent(location.pathname + location.search);
    const link = Object.assign(document.createElement("a"), { href: `/login?next=${here}`, textContent: "Log in" });
    say("You are logged out. ");
    notice.append(link);
  },
  error() {
    if (!isLost) say("Reconnecting…", NO_ANSWER, LONG_MS);
    isLost = true;
  },
};
addEventListener("stream", ({ detail }) => said[detail]());
