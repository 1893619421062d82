// Browsers allow six connections to a hub. Each page that is seen has one for its stream; those in the background share
// two places, to count what is unread, and a page that finds no place catches up when it is seen.
const PLACES = ["relay-background-1", "relay-background-2"];
const to = (what) => dispatchEvent(new Event(what));
let release;

function rest(places) {
  if (!navigator.locks || !places.length) return to("rest");
  navigator.locks.request(places[0], { ifAvailable: true }, (lock) => {
    if (!document.hidden) return;
    if (!lock) return rest(places.slice(1));
    to("attend");
    return new Promise((done) => (release = done));
  });
}

function look() {
  if (document.hidden) return rest(PLACES);
  release?.();
  to("attend");
}

if (document.querySelector("[data-live]")) {
  document.addEventListener("visibilitychange", look);
  addEventListener("pageshow", look);
}
