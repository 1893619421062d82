// Tells what the reader has not seen: in the list of channels, and in the title of a page in the background.
const KEY = "relay_seen";
const NEAR = 40;
const MOST = 99;
const page = document.scrollingElement;
const main = document.getElementById("main");
const title = document.title;

function isSeen() {
  return "live" in main.dataset && !document.hidden && page.scrollHeight - page.scrollTop - innerHeight < NEAR;
}

const inWords = (unread) => (unread > MOST ? `${MOST}+` : String(unread));

function show(item, unread) {
  const words = inWords(unread);
  const badge = { className: "unread", role: "img", ariaLabel: `${words} unread`, textContent: words };
  item.querySelector(".unread")?.remove();
  if (unread) item.firstElementChild.append(Object.assign(document.createElement("span"), badge));
  // Small screens have the selector instead.
  const options = document.getElementById("channel-select").options;
  const option = [...options].find(({ value }) => value === item.dataset.channel);
  option.textContent = unread ? `${option.value} (${words})` : option.value;
  item.dataset.unread = unread;
}

function showAll(unread) {
  const label = document.querySelector("label[for=channel-select]");
  if (unread) label.dataset.unread = `(${inWords(unread)} unread)`;
  else delete label.dataset.unread;
}

function load() {
  const text = localStorage.getItem(KEY);
  return text && new Map(JSON.parse(text));
}

function refresh() {
  const items = [...document.querySelectorAll("#channels [data-count]")];
  const counts = new Map(items.map(({ dataset }) => [dataset.channel, Number(dataset.count)]));
  const here = main.dataset.channel;
  // To a reader who comes for the first time, nothing is unread.
  const seen = load() ?? new Map(counts);
  if (isSeen() && counts.has(here)) seen.set(here, Math.max(counts.get(here), seen.get(here) ?? 0));
  let all = 0;
  for (const item of items) {
    const name = item.dataset.channel;
    const unread = Math.max(counts.get(name) - (seen.get(name) ?? 0), 0);
    all += unread;
    if ((item.dataset.unread ?? "0") !== String(unread)) show(item, unread);
    if (name === here) document.title = unread && document.hidden ? `(${unread}) ${title}` : title;
  }
  showAll(all);
  return seen;
}

// Pages in other windows hear of it, and only look again.
function note() {
  localStorage.setItem(KEY, JSON.stringify([...refresh()]));
}

// The first list over the stream is fresh, as a page out of the browser's history is not: counts that have gone down
// are those of another hub.
function forgetOldHub() {
  const seen = load() ?? new Map();
  for (const { dataset } of document.querySelectorAll("#channels [data-count]")) {
    if (seen.get(dataset.channel) > dataset.count) return localStorage.removeItem(KEY);
  }
}

note();
addEventListener("storage", refresh);
addEventListener("replaced", forgetOldHub, { once: true });
addEventListener("replaced", note);
document.addEventListener("visibilitychange", note);
const hasUnread = () => document.querySelector("[aria-current] .unread");
addEventListener("scroll", () => hasUnread() && isSeen() && note(), { passive: true });
