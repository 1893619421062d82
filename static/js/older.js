// Puts older messages above the present ones, without moving what the reader looks at.
const list = document.getElementById("messages");
const older = document.getElementById("older");

function address() {
  return `${older.pathname}?before=${list.firstElementChild.dataset.id}`;
}

async function load() {
  const response = await fetch(address());
  if (!response.ok) throw new Error(`Request failed with status ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const first = list.firstElementChild;
  const top = first.getBoundingClientRect().top;
  list.ariaBusy = "true";
  list.prepend(...page.getElementById("messages").children);
  list.ariaBusy = "false";
  older.hidden = page.getElementById("older").hidden;
  // Other scripts fold what was added before this moves the page.
  requestAnimationFrame(() => scrollBy(0, first.getBoundingClientRect().top - top));
}

older.addEventListener("click", (event) => {
  event.preventDefault();
  load().catch(() => location.assign(address()));
});

// A link to a message that is not on the page any more leads to the page where it is.
const wanted = location.hash.match(/^#m(\d+)$/);
if (wanted && !location.search && !document.getElementById(wanted[0].slice(1))) {
  location.replace(`${older.pathname}?before=${Number(wanted[1]) + 1}${location.hash}`);
}
