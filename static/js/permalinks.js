// Links to messages. One that is on the page is found without loading anything; the hub finds all others.
function onPage(hash) {
  return /^#m\d+$/.test(hash) && document.getElementById(hash.slice(1));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.host !== location.host || link.pathname !== location.pathname || !onPage(link.hash)) return;
  event.preventDefault();
  if (location.hash !== link.hash) location.hash = link.hash;
  else onPage(link.hash).scrollIntoView();
});

const at = new URLSearchParams(location.search).get("at");
if (at && !location.hash) location.replace(`#m${at}`);

const wanted = location.hash.match(/^#m(\d+)$/);
if (wanted && !location.search && !onPage(location.hash)) {
  location.replace(`${location.pathname}?at=${wanted[1]}${location.hash}`);
}
