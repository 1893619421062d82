// Makes a piece of the page like its next version and touches nothing that stays as it is: what the reader has opened,
// selected, scrolled or focused is still the same afterwards.
const keyOf = (node) => node.id || node.dataset?.key || node.dateTime || "";
const isSame = (node, wanted) => node.nodeName === wanted.nodeName && keyOf(node) === keyOf(wanted);

function find(node, wanted) {
  while (node && !isSame(node, wanted)) node = node.nextSibling;
  return node;
}

// A text that only grows keeps what is selected in it.
function retext(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

export function morph(present, next) {
  // A time that is the same is already in the reader's own words.
  if (present.isEqualNode(next) || present.nodeName === "TIME") return;
  if (!(present instanceof Element)) return retext(present, next.data);
  for (const { name, value } of next.attributes) {
    // What is open is the reader's to say; what scripts have added stays.
    if (name !== "open" && present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  // Only the hub hides and shows the pieces that it sends.
  if (present.hidden && !next.hidden) present.hidden = false;
  let node = present.firstChild;
  for (const wanted of [...next.childNodes]) {
    const found = find(node, wanted);
    if (!found) {
      present.insertBefore(wanted, node);
      continue;
    }
    while (node !== found) {
      const gone = node;
      node = node.nextSibling;
      gone.remove();
    }
    node = found.nextSibling;
    morph(found, wanted);
  }
  while (node) {
    const gone = node;
    node = node.nextSibling;
    gone.remove();
  }
}
