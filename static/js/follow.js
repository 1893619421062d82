// Keeps the reader's place while the page of a dispatch changes above it. For a reader who has gone to the end of the
// turn, or of a command's output, that end is the place.
const NEAR = 40;
const page = document.scrollingElement;
const latest = document.getElementById("latest");
const bar = document.querySelector(".bar");
const topOf = (element) => element.getBoundingClientRect().top;

function isFollowing() {
  return page.scrollTop > 0 && latest.checkVisibility() && topOf(latest) > 0 && topOf(latest) <= innerHeight + NEAR;
}

// The first thing that is seen below the bar.
function first() {
  const edge = bar.getBoundingClientRect().bottom;
  const things = document.querySelectorAll(".detail > *, .step");
  return [...things].findLast((thing) => topOf(thing) <= edge && thing.getBoundingClientRect().bottom > edge) ?? latest;
}

function atEnd(part) {
  return [...part.querySelectorAll(".terminal pre")].filter(
    (output) => output.scrollHeight - output.scrollTop - output.clientHeight < NEAR,
  );
}

addEventListener("replacing", ({ target, detail: next }) => {
  const isEnd = isFollowing();
  const held = isEnd ? latest : first();
  const before = topOf(held);
  const outputs = target.matches(".step") ? atEnd(target) : [];
  // The page has changed when this runs, and has not been painted.
  queueMicrotask(() => {
    for (const output of outputs) output.scrollTop = output.scrollHeight;
    const moved = topOf(held) - before;
    if (!held.isConnected || page.scrollTop === 0 || !moved) return;
    if (!isEnd) scrollBy(0, moved);
    else if (topOf(latest) > innerHeight) scrollBy(0, topOf(latest) - innerHeight + NEAR);
  });
});
