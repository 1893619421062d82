// Puts older messages above the present ones as the reader nears them, without moving what the reader looks at.
const list = document.getElementById("messages");
const older = document.getElementById("older");
const status = document.getElementById("older-status");
const AHEAD = "600px 0px 0px";
let isLoading = false;

async function fetchPage() {
  const response = await fetch(`${older.pathname}?before=${list.firstElementChild.dataset.id}`).catch(() => {
    throw new Error("the hub cannot be reached");
  });
  if (!response.ok) throw new Error(`request failed with status ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function add(page) {
  const first = list.firstElementChild;
  const top = first.getBoundingClientRect().top;
  list.ariaBusy = "true";
  list.prepend(...page.getElementById("messages").children);
  list.ariaBusy = "false";
  older.hidden = page.getElementById("older").hidden;
  // Other scripts fold what was added before this moves the page.
  requestAnimationFrame(() => {
    scrollBy(0, first.getBoundingClientRect().top - top);
    // Where the page is still not full, this asks for more.
    near.unobserve(older);
    near.observe(older);
  });
}

async function load() {
  if (isLoading || older.hidden) return;
  isLoading = true;
  status.textContent = "Loading…";
  try {
    add(await fetchPage());
    status.textContent = "";
  } catch (error) {
    status.textContent = `Older messages could not be loaded: ${error.message}. Press the button to try again.`;
  }
  isLoading = false;
}

const near = new IntersectionObserver(([entry]) => entry.isIntersecting && load(), { rootMargin: AHEAD });
near.observe(older);
older.addEventListener("click", (event) => {
  event.preventDefault();
  load();
});
