// A reader at the end stays at the end; one who has scrolled up is left alone and told of what is new.
const NEAR = 40;
const MOST_MESSAGES = 500;
const page = document.scrollingElement;
const list = document.getElementById("messages");
const unseen = document.getElementById("unseen");
const older = document.getElementById("older");
const isWanted = /^#m\d/.test(location.hash) || /[?&](at|after)=/.test(location.search);
let following = !isWanted || isAtEnd();
let count = 0;

function isAtEnd() {
  return page.scrollHeight - page.scrollTop - innerHeight < NEAR;
}

function toEnd() {
  page.scrollTop = page.scrollHeight;
}

function seen() {
  count = 0;
  unseen.hidden = true;
}

function trim() {
  while (list.children.length > MOST_MESSAGES) {
    list.firstElementChild.remove();
    older.hidden = false;
  }
}

if (unseen) {
  addEventListener("scroll", () => {
    following = isAtEnd();
    if (following) seen();
  }, { passive: true });
  unseen.addEventListener("click", toEnd);
  list.addEventListener("arrived", ({ detail: messages }) => {
    if (following) {
      trim();
      toEnd();
    } else {
      count += messages.length;
      unseen.textContent = `${count} new ${count === 1 ? "message" : "messages"}`;
      unseen.hidden = false;
    }
  });
  // One's own message is shown, wherever one was.
  addEventListener("sent", ({ detail: isHere }) => {
    if (!isHere) return;
    following = true;
    toEnd();
  });
  new ResizeObserver(() => following && toEnd()).observe(document.getElementById("composer"));
  addEventListener("resize", () => following && toEnd());
  if (following) toEnd();
}
